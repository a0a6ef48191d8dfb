"""What users met: a node that is away, an interpreter that ends, forks, forgotten connections, wrong arguments."""

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import types
import warnings
from pathlib import Path

import pytest

import rondo
import rondo.aio
from rondo._client import absence, arrival, worker
from rondo._client import descriptors as descriptors_module
from rondo._client.arrival import ARRIVALS, Arrivals
from services.ipc_gateway.session_registry import RESUME_MS
from tests.unit.gateway.conftest import ROOT, GatewayProcess, eventually
from tests.unit.gateway.loopback import Loopback

LONG_S = 60
ATTEMPTS_MAX = 4
"""The best of so many counts where a time is measured: a loaded machine may hold any thread for a while."""


def run(program: str, endpoint: str) -> tuple[int, str, float]:
    """Exit code, what it printed, and how long its end took after it said `end`."""
    with subprocess.Popen(
        [sys.executable, "-c", program, endpoint], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = ""
        while not said.endswith("end\n") and (line := process.stdout.readline()):
            said += line
        began_s = time.monotonic()
        said += process.stdout.read()
        code = process.wait(LONG_S)
    return code, said, time.monotonic() - began_s


@pytest.mark.parametrize(
    "program",
    [
        "class Store:\n    def __init__(self): self.c = rondo.connect(sys.argv[1], 60)\n"
        "    def __del__(self): self.c.close()\nstore = Store()",
        "def events():\n    with rondo.connect(sys.argv[1], 60) as c: yield from c.cpg.join('g')\n"
        "held = events(); next(held)",
        "import atexit\nc = rondo.connect(sys.argv[1], 60); atexit.register(c.close)",
        "import threading\nc = rondo.connect(sys.argv[1], 60); g = c.cpg.join('g')\n"
        "threading.Thread(target=lambda: list(g), daemon=True).start()",
    ],
)
def test_the_interpreter_ends_at_once(loopback: Loopback, gateway: GatewayProcess, program: str) -> None:
    took_s: list[float] = []
    while not took_s or (min(took_s) >= 1.5 and len(took_s) < ATTEMPTS_MAX):
        code, said, ended_s = run(f"import rondo, sys\n{program}\nprint('end', flush=True)", gateway.endpoint)
        assert (code, said) == (0, "end\n")
        took_s.append(ended_s)
    assert min(took_s) < 1.5  # of which the interpreter itself takes some


def test_close_takes_no_second_while_the_gateway_hangs(loopback: Loopback, gateway: GatewayProcess) -> None:
    took_s: list[float] = []
    while not took_s or (min(took_s) >= 1 and len(took_s) < ATTEMPTS_MAX):
        cluster = gateway.connect()
        gateway.process.send_signal(signal.SIGSTOP)
        began_s = time.monotonic()
        cluster.close()
        took_s.append(time.monotonic() - began_s)
        gateway.process.send_signal(signal.SIGCONT)
    assert min(took_s) < 1


def test_a_child_leaves_with_its_own_exit_code(loopback: Loopback, gateway: GatewayProcess) -> None:
    program = """import os, rondo, sys
with rondo.connect(sys.argv[1], 60) as c:
    c.cpg.join('g')
    pid = os.fork()
    if pid == 0:
        sys.exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 'end', flush=True)
"""
    assert run(program, gateway.endpoint)[1] == "7 end\n"


def test_the_end_of_a_process_shows_although_its_child_lives(loopback: Loopback, gateway: GatewayProcess) -> None:
    """The child has no copy of its socket."""
    program = """import os, rondo, sys, time
c = rondo.connect(sys.argv[1], 60)
if os.fork() == 0:
    paths = [f'/proc/self/fd/{n}' for n in os.listdir('/proc/self/fd')]
    links = [os.readlink(path) for path in paths if os.path.lexists(path)]
    print(sum(link.startswith('socket:') for link in links), 'end', flush=True)
    os._exit(0)
os.wait()
"""
    assert run(program, gateway.endpoint)[1] == "0 end\n"


def test_a_connection_that_is_forgotten_is_closed_with_a_warning(loopback: Loopback, gateway: GatewayProcess) -> None:
    gateway.connect().close()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(70):  # one process may have 64
            assert gateway.connect().cpg.groups(LONG_S) == []
        gc.collect()
        eventually(lambda: len(os.listdir("/proc/self/fd")) <= before + 4)
    assert sum("unclosed connection to" in str(each.message) for each in caught) == 70


def test_who_drops_a_connection_joins_its_group_again(loopback: Loopback, gateway: GatewayProcess) -> None:
    """As who closes it does. The connection that was dropped is on its way out, and the process is a member still."""

    async def main() -> None:
        other = await rondo.aio.connect(gateway.endpoint, LONG_S)
        for _ in range(20):
            dropped = await rondo.aio.connect(gateway.endpoint, LONG_S)
            await dropped.cpg.join("g", LONG_S)
            del dropped
            joins = [other.cpg.join("g", LONG_S), other.cpg.join("h", LONG_S)]
            for group in await asyncio.gather(*joins):
                await group.leave(LONG_S)
            del group
        await other.close()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        with gateway.connect() as other:
            for _ in range(20):
                gateway.connect().cpg.join("g", LONG_S)
                other.cpg.join("g", LONG_S).leave(LONG_S)
                gateway.connect().cpg.join("g", LONG_S)
        asyncio.run(main())


def test_a_cancelled_close_closes_and_a_given_up_connect_counts_no_longer(
    loopback: Loopback, gateway: GatewayProcess
) -> None:
    async def main() -> None:
        await (await rondo.aio.connect(gateway.endpoint, LONG_S)).close()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(70):
            cluster = await rondo.aio.connect(gateway.endpoint, LONG_S)
            closing = asyncio.create_task(cluster.close())
            await asyncio.sleep(0)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
        # Connections of former tests may still be on their way out, so there may be fewer.
        while len(os.listdir("/proc/self/fd")) > before:
            await asyncio.sleep(0.01)
        for number in range(200):
            try:
                async with asyncio.timeout(0.0005 + number % 40 * 0.0001):
                    cluster = await rondo.aio.connect(gateway.endpoint)
            except TimeoutError:
                continue
            await cluster.close()

    asyncio.run(asyncio.wait_for(main(), LONG_S))
    gateway.connect().close()
    eventually(lambda: not loopback.call(lambda: len(loopback.sessions)))


def test_polls_leave_nothing_behind(loopback: Loopback, gateway: GatewayProcess) -> None:
    async def main() -> None:
        async with rondo.aio.connect(gateway.endpoint, LONG_S) as cluster:
            group = await cluster.cpg.join("g")
            await group.poll(LONG_S)
            gc.collect()
            before = len(gc.get_objects())
            for _ in range(1000):
                assert await group.poll(0) is None
                task = asyncio.create_task(group.poll())
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            del task
            gc.collect()
            assert len(gc.get_objects()) - before < 100

    asyncio.run(main())


def test_one_at_a_time_takes_the_events_of_a_group(loopback: Loopback, gateway: GatewayProcess) -> None:
    with gateway.connect() as cluster:
        group = cluster.cpg.join("g")
        group.poll(LONG_S)

        def wait() -> None:
            while True:
                with contextlib.suppress(rondo.Busy):  # the main thread takes them just then
                    group.poll(LONG_S)
                    return

        waiting = threading.Thread(target=wait, daemon=True)
        waiting.start()

        def is_refused() -> bool:
            try:
                group.poll(0)
            except rondo.Busy:
                return True
            return False

        eventually(is_refused)
        group.mcast(b"x")
        waiting.join(LONG_S)

    async def tasks() -> None:
        async with rondo.aio.connect(gateway.endpoint, LONG_S) as cluster:
            group = await cluster.cpg.join("g")
            await group.poll(LONG_S)
            first = asyncio.create_task(group.poll())
            await asyncio.sleep(0)
            with pytest.raises(rondo.Busy):
                await group.poll()
            first.cancel()

    asyncio.run(tasks())


def test_what_makes_no_sense_is_refused_where_it_is_given(loopback: Loopback, gateway: GatewayProcess) -> None:
    with pytest.raises(rondo.InvalidParameter, match=r"endpoint.*5"):
        rondo.connect(5)  # type: ignore[arg-type]
    with pytest.raises(rondo.InvalidParameter, match=r"endpoint.*''"):
        rondo.connect("")
    with pytest.raises(rondo.InvalidParameter, match=r"timeout.*'1'"):
        rondo.connect(gateway.endpoint, "1")  # type: ignore[arg-type]
    with gateway.connect() as cluster:
        group = cluster.cpg.join("g")
        for guarantee in ("safe", 5.0, 4, None, True):
            with pytest.raises(rondo.InvalidParameter, match="guarantee"):
                group.mcast(b"x", guarantee)  # type: ignore[arg-type]
        with pytest.raises(rondo.InvalidParameter, match=r"data.*'text'"):
            group.mcast("text")  # type: ignore[arg-type]
        with pytest.raises(rondo.InvalidParameter, match=r"deadline.*nan"):
            group.mcast(b"x", deadline=float("nan"))
        for call in (group.poll, group.leave, cluster.cpg.groups, group.mcast(b"x").ordered):
            for timeout in (float("nan"), "1", True):
                with pytest.raises(rondo.InvalidParameter, match="timeout"):
                    call(timeout)  # type: ignore[arg-type]
        group.mcast(b"goes on").ordered(LONG_S)


@pytest.mark.parametrize("name", ["session_timeout", "default_timeout"])
@pytest.mark.parametrize("seconds", [-1, -0.5, float("-inf"), float("nan"), "1", True])
def test_no_connection_has_less_than_no_time(gateway: GatewayProcess, name: str, seconds: float) -> None:
    with pytest.raises(rondo.InvalidParameter, match=f"{name}: a number of seconds"):
        rondo.connect(gateway.endpoint, **{name: seconds})  # type: ignore[arg-type]

    async def main() -> None:
        with pytest.raises(rondo.InvalidParameter, match=f"{name}: a number of seconds"):
            await rondo.aio.connect(gateway.endpoint, **{name: seconds})  # type: ignore[arg-type]

    asyncio.run(main())


@pytest.mark.parametrize("timeout", [0, 0.0, -1, float("-inf")])
def test_who_has_no_time_does_not_connect(gateway: GatewayProcess, timeout: float) -> None:
    """Nor by chance, because the node is quick."""
    for _ in range(20):
        with pytest.raises(rondo.Timeout, match="no time to connect"):
            rondo.connect(gateway.endpoint, timeout)

    async def main() -> None:
        with pytest.raises(rondo.Timeout, match="no time to connect"):
            await rondo.aio.connect(gateway.endpoint, timeout)

    asyncio.run(main())


def test_a_connect_that_times_out_is_no_unclosed_connection(tmp_path: Path) -> None:
    gc.collect()  # what former tests have left
    endpoint = f"ipc://{tmp_path / 'nobody.sock'}"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(rondo.Timeout, match="no node answers"):
            rondo.connect(endpoint, 0.01)
        gc.collect()
    assert not [each for each in caught if endpoint in str(each.message)]


def test_time_without_end_is_time(loopback: Loopback, gateway: GatewayProcess) -> None:
    """More than one system call takes, too; of a connection, a session, a message and a request to the node."""
    for long_s in (float("inf"), 1e18):
        with rondo.connect(gateway.endpoint, long_s, session_timeout=long_s) as cluster:
            group = cluster.cpg.join(f"g {long_s}", long_s)
            assert group.poll(long_s) is not None
            group.mcast(b"x", deadline=long_s).ordered(long_s)
            gateway.kill()
            threading.Timer(0.2, cluster.close).start()
            with pytest.raises(rondo.BadHandle, match="closed"):
                cluster.nodes(long_s)
        gateway.start()
        gateway.connect().close()


def test_what_is_printed_of_a_connection_says_how_it_stands(loopback: Loopback, gateway: GatewayProcess) -> None:
    with gateway.connect() as cluster:
        group = cluster.cpg.join("g")
        request = group.mcast(b"x").ordered(LONG_S)
        shown = [repr(each) for each in (cluster, group, request)]
        group.leave(LONG_S)
    closed = repr(cluster)

    async def main() -> None:
        async with rondo.aio.connect(gateway.endpoint, LONG_S) as cluster:
            group = await cluster.cpg.join("g")
            request = await (await group.mcast(b"x")).ordered(LONG_S)
            found = [repr(each) for each in (cluster, group, request)]
        assert [each.replace("rondo.aio.", "rondo.") for each in (*found, repr(cluster))] == [*shown, closed]

    asyncio.run(main())
    assert shown == [
        f"<rondo.Cluster {gateway.endpoint}: connected>",
        "<rondo.Group 'g': 1 members>",
        "<rondo.Request 2: ordered>",
    ]
    assert closed.endswith(": closed>")


def test_patched_threads_are_refused_in_one_line(gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    patched = types.ModuleType("gevent.monkey")
    patched.is_module_patched = lambda name: name == "threading"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gevent.monkey", patched)
    with pytest.raises(rondo.NotSupported, match="gevent has replaced"):
        rondo.connect(gateway.endpoint)


@pytest.mark.parametrize("connect", ["rondo.connect()", "asyncio.run(main())"])
def test_patched_threads_are_refused_although_the_patch_came_first(connect: str) -> None:
    """Before anything of the client was imported; gevent also takes `select.epoll` away."""
    program = f"""import asyncio, select, sys, types
gevent = types.ModuleType("gevent.monkey")
gevent.is_module_patched = lambda name: True
sys.modules["gevent.monkey"] = gevent
del select.epoll
import rondo, rondo.aio
async def main(): await rondo.aio.connect()
try: {connect}
except rondo.NotSupported as error: print("refused:", error)
print("end")
"""
    code, said, _ = run(program, "")
    assert code == 0, said
    assert said.startswith("refused: gevent has replaced")


def test_a_stop_in_order_is_told_at_once_and_what_waits_is_never_sent(
    loopback: Loopback, gateway: GatewayProcess
) -> None:
    with gateway.connect() as cluster:
        group = cluster.cpg.join("g")
        group.mcast(b"before").ordered(LONG_S)
        while group.poll(0) is not None:
            pass
        loopback.stall(True)
        sent = group.mcast(b"sent, and not accepted")
        eventually(lambda: loopback.call(lambda: loopback.stalled))
        began_s = time.monotonic()
        gateway.stop()
        assert isinstance(group.poll(LONG_S), rondo.Disconnected)
        # The gateway's own end included; and a session is not lost before it was away for ten seconds.
        assert time.monotonic() - began_s < RESUME_MS / 2000
        assert isinstance(sent.error, rondo.Disconnected)
        loopback.stall(False)
        gateway.start()
        told = [type(group.poll(LONG_S)) for _ in range(2)]
        assert told == [rondo.UnknownOutcome, rondo.Reconnected]
        group.mcast(b"after").ordered(LONG_S)


def test_a_request_can_be_cancelled_or_have_a_deadline_while_the_node_is_away(
    loopback: Loopback, gateway: GatewayProcess
) -> None:
    with gateway.connect() as cluster:
        group = cluster.cpg.join("g")
        group.poll(LONG_S)
        gateway.kill()
        assert isinstance(group.poll(LONG_S), rondo.Suspended)
        assert not cluster.is_connected
        made = [group.mcast(b"%d" % number) for number in range(3)]
        assert made[1].cancel()
        assert not made[1].cancel()
        late = group.mcast(b"late", deadline=0.05)
        with pytest.raises(rondo.Timeout, match="deadline"):
            late.ordered(LONG_S)
        gateway.start()
        assert isinstance(group.poll(LONG_S), rondo.Resumed)
        made[2].ordered(LONG_S)
        assert isinstance(made[1].error, rondo.Interrupted)
        found = [
            event.data for event in (group.poll(0), group.poll(0), group.poll(0)) if isinstance(event, rondo.Message)
        ]
        assert found == [b"0", b"2"]


def test_a_join_that_had_no_time_is_undone_and_the_next_one_succeeds(
    loopback: Loopback, gateway: GatewayProcess
) -> None:
    with gateway.connect() as cluster:
        gateway.process.send_signal(signal.SIGSTOP)
        for _ in range(2):
            with pytest.raises(rondo.Timeout):
                cluster.cpg.join("g", 0.1)
        gateway.process.send_signal(signal.SIGCONT)
        assert cluster.cpg.join("g", LONG_S).members


def test_to_wait_for_a_node_that_is_away_costs_nothing(
    loopback: Loopback, gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(absence, "QUICK_S", 0.2)
    cluster = gateway.connect()
    group = cluster.cpg.join("g")
    threading.Thread(target=lambda: list(group), daemon=True).start()
    before = len(ARRIVALS)
    gateway.stop()
    eventually(lambda: len(ARRIVALS) > before)
    turns = 0

    def counted(timeout_s: float | None, *descriptors: int) -> list[int]:
        nonlocal turns
        turns += 1
        return descriptors_module.poll(timeout_s, *descriptors)

    monkeypatch.setattr(worker, "poll", counted)
    time.sleep(2)
    # The turn in which it began to wait may not have ended before, and what was away may have been told once.
    assert turns <= 2
    monkeypatch.undo()
    gateway.start()
    eventually(lambda: cluster.is_connected)
    cluster.close()


def test_the_kernel_tells_when_a_socket_appears(tmp_path: Path) -> None:
    arrivals = Arrivals()
    told = threading.Semaphore(0)
    path = tmp_path / "run" / "gateway.sock"
    ticket = arrivals.watch(path, told.release)  # the directory is not there yet
    path.parent.mkdir()
    assert told.acquire(timeout=LONG_S)
    again = arrivals.watch(path, told.release)
    assert ticket is not None
    assert again is not None
    arrivals.forget(ticket)
    (path.parent / "other").touch()
    path.touch()
    assert told.acquire(timeout=LONG_S)
    assert not told.acquire(timeout=0.05), "other files concern nobody"
    arrivals.forget(again)


def test_a_bell_tells_where_no_inotify_instance_is_left(
    loopback: Loopback, gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "_libc", lambda: types.SimpleNamespace(inotify_init1=lambda _flags: -1))
    monkeypatch.setattr(absence, "QUICK_S", 0.2)
    arrivals, told = Arrivals(), threading.Semaphore(0)
    assert arrivals.watch(gateway.run_dir / "other.sock", told.release) is None, "nobody ever rang there"
    with gateway.connect() as cluster:
        for _ in range(2):
            gateway.stop()
            eventually(lambda: any(each.name == "rondo-arrivals" for each in threading.enumerate()))
            ticket, again = (arrivals.watch(gateway.run_dir / "gateway.sock", told.release) for _ in range(2))
            assert ticket is not None
            assert again is not None
            assert not told.acquire(timeout=0.05)
            began_s = time.monotonic()
            gateway.start()
            assert told.acquire(timeout=LONG_S)
            assert told.acquire(timeout=LONG_S)
            eventually(lambda: cluster.is_connected)
            assert time.monotonic() - began_s < absence.LOOK_S / 2
            arrivals.forget(ticket)
            arrivals.forget(again)
    eventually(lambda: not any(each.name == "rondo-arrivals" for each in threading.enumerate()))
