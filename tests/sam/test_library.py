"""`rondo.sam` and `rondo.aio.sam`, used by applications of their own."""

import signal
import subprocess
import sys
import textwrap
import time

import pytest
import zmq

import rondo
from rondo import sam
from rondo.protocol.client_gateway import FROM_GATEWAY, Kind, decode, encode
from rondo.protocol.codes import Code
from rondo.protocol.sam_gateway import Op, encode_request
from tests.sam.bench import PATIENCE_S, ROOT, Bench, eventually, is_alive

BURST = 1000
ATTEMPTS = 10
"""Of which one counts, where a busy machine may hold an application for longer than its interval."""
PRELUDE = """
import asyncio, os, signal, sys, time
import rondo
from rondo import sam

def say(*what):
    with open("said", "a") as file:
        file.write(" ".join(map(str, what)) + "\\n")

def refused(call, *arguments):
    try:
        call(*arguments)
    except rondo.Error as error:
        return type(error).__name__
"""


def python(bench: Bench, script: str, **options: object) -> str:
    """A program in Python under SAM."""
    source = PRELUDE + textwrap.dedent(script)
    return bench.run(sys.executable, "-c", source, environment={"PYTHONPATH": str(ROOT)}, **options)  # type: ignore[arg-type]


def test_each_call_in_its_place(bench: Bench) -> None:
    name = python(
        bench,
        """
        say(refused(sam.register), refused(sam.health_check_send), refused(sam.start), refused(sam.finalize))
        say(refused(sam.initialize, -1, sam.Policy.QUIT), refused(sam.initialize, 1000, "hope"))
        sam.initialize(60_000, sam.Policy.QUIT)
        say(refused(sam.initialize, 1000, sam.Policy.QUIT), refused(sam.data_store, b"x"), refused(sam.start))
        say(refused(sam.warn_signal_set, 1000))
        say(sam.register(), refused(sam.register))
        say(sam.data_restore(), sam.data_size())
        sam.data_store(b"abc")
        say(refused(sam.data_store, bytes(1024 * 1024 + 1)), sam.data_restore(), sam.data_size())
        sam.data_store(bytes(1024 * 1024))
        say(sam.data_size())
        if os.fork() == 0:
            say(refused(sam.data_size))
            os._exit(0)
        os.wait()
        sam.warn_signal_set(signal.SIGUSR1)
        sam.start()
        say("end")
        """,
    )
    bench.wait(name, lambda s: s["ends"], "it has ended")
    assert bench.sam.logs(name)[0].decode() == ""
    assert bench.written("said") == [
        "BadHandle BadHandle BadHandle BadHandle",
        "InvalidParameter InvalidParameter",
        "Exists BadHandle BadHandle",
        "InvalidParameter",
        "0 Exists",
        "b'' 0",
        "TooBig b'abc' 3",
        str(1024 * 1024),
        "BadHandle",
        "end",
    ]
    status = bench.status(name)
    assert (status["state"], status["warn_signal"]) == ("stopped", signal.SIGUSR1)


def test_registered_started_and_stopped_again(bench: Bench) -> None:
    """Who has not started, or has stopped, may be silent."""
    name = python(
        bench,
        """
        sam.initialize(3000, sam.Policy.QUIT)
        sam.register()
        say("registered")
        time.sleep(4)
        while not os.path.exists("go"):
            time.sleep(0.01)
        sam.start()
        sam.health_check_send()
        say("started")
        sam.stop()
        say("stopped")
        time.sleep(4)
        say("alive")
        time.sleep(1000)
        """,
    )
    bench.wait_for_line("said", 1)
    assert bench.status(name)["state"] == "registered"
    (bench.work / "go").touch()
    bench.wait_for_line("said", 4)
    status = bench.status(name)
    assert (status["state"], status["ends"], status["health"]) == ("registered", 0, "exit")


@pytest.mark.parametrize("answer", ["False", "1 / 0", "time.sleep(1000)"])
def test_a_callback_that_does_not_confirm(bench: Bench, answer: str) -> None:
    """For a while it does; then it says False, raises, or does not return."""
    lived_ms = []
    for _ in range(ATTEMPTS):
        name = python(
            bench,
            f"""
            sam.initialize(400, sam.Policy.QUIT)
            sam.register()
            began = time.monotonic()
            sam.health_check_callback(lambda: True if time.monotonic() < began + 1.5 else {answer})
            sam.start()
            time.sleep(1000)
            """,
        )
        status = bench.wait(name, lambda s: s["ends"], "it is called hung")
        assert "hung: silent" in status["history"][0]["why"], (status["history"], bench.log())
        lived_ms.append(status["history"][0]["lived_ms"])
        if lived_ms[-1] > 1500:
            return
    pytest.fail(f"not once was it left alone while it confirmed: {lived_ms}")


def test_finalize_lets_go(bench: Bench) -> None:
    name = python(
        bench,
        """
        sam.initialize(3000, sam.Policy.RESTART)
        sam.register()
        sam.start()
        sam.finalize()
        say("finalized", refused(sam.health_check_send))
        time.sleep(4)
        say("alive")
        sys.exit(5)
        """,
    )
    status = bench.wait(name, lambda s: s["ends"], "it has ended")
    assert bench.written("said") == ["finalized BadHandle", "alive"]
    assert (status["state"], status["instance"], status["history"][0]["exit_code"]) == ("stopped", 0, 5)


def test_asyncio_a_loop_that_hangs_is_noticed(bench: Bench) -> None:
    name = python(
        bench,
        """
        from rondo import aio

        async def main():
            await aio.sam.initialize(2000, sam.Policy.RESTART)
            instance = await aio.sam.register()
            say(instance, await aio.sam.data_restore(), await aio.sam.data_size())
            await aio.sam.data_store(b"of %d" % instance)
            await aio.sam.warn_signal_set(signal.SIGTERM)
            aio.sam.health_check_callback(lambda: True)
            await aio.sam.start()
            await asyncio.sleep(4.5)
            say("healthy")
            if instance == 0:
                time.sleep(1000)
            await aio.sam.stop()
            aio.sam.health_check_callback(None)
            await asyncio.sleep(2.5)
            await aio.sam.mark_failed() if instance == 1 else await aio.sam.finalize()
            await asyncio.sleep(1000)

        asyncio.run(main())
        """,
    )
    bench.wait_for_instance(name, 2)
    assert bench.wait_for_line("said", 6) == [
        "0 b'' 0", "healthy", "1 b'of 0' 4", "healthy", "2 b'of 1' 4", "healthy",
    ]  # fmt: skip
    hung, failed = bench.status(name)["history"]
    assert "hung" in hung["why"]
    assert "marked itself failed" in failed["why"]


def test_a_word_that_nobody_knows_is_no_health_and_no_harm(bench: Bench) -> None:
    name = bench.shell(
        'printf "hello\\n\\nmore\\n" >&$RONDO_SAM_HEALTH; echo x >> "$DIR/x"; while :; do rest 100; done'
    )
    bench.wait_for_line("x")
    eventually(lambda: bench.told()["counters"].get("words_not_understood") == 2, "they are counted")
    assert bench.status(name)["health"] == "exit"


def test_the_words_of_the_line_protocol(bench: Bench) -> None:
    # Two words at once: between two writes a busy machine may let an interval go by.
    script = """
        printf 'start\\nstop\\n' >&$RONDO_SAM_HEALTH; rest 1
        echo alive >> "$DIR/x"; echo failed >&$RONDO_SAM_HEALTH; while :; do rest 100; done
    """
    name = bench.shell(script, interval_ms=300, policy="quit")
    status = bench.wait(name, lambda s: s["ends"], "it is ended")
    assert bench.written("x") == ["alive"]
    assert "marked itself failed" in status["history"][0]["why"]
    assert status["state"] == "failed"


def test_sam_may_be_away_while_an_application_asks(bench: Bench) -> None:
    """SAM and the gateway are killed; the request waits and is done once."""
    name = python(
        bench,
        """
        sam.initialize(0, sam.Policy.QUIT)
        sam.register()
        say("ready")
        while not os.path.exists("go"):
            time.sleep(0.01)
        sam.data_store(b"stored")
        say(sam.data_restore())
        """,
    )
    bench.wait_for_line("said")
    bench.kill("sam")
    (bench.work / "go").touch()
    time.sleep(0.3)
    bench.restart("ipc_gateway")
    bench.start("sam")
    assert bench.wait_for_line("said", 2)[1] == "b'stored'"
    bench.wait(name, lambda s: s["ends"], "it has ended")


def test_a_request_to_run_that_is_repeated_runs_once(bench: Bench) -> None:
    """Its reply is lost each time with the gateway, until one comes through."""
    bench.kill("sam")
    caller = subprocess.Popen(
        [sys.executable, "-m", "rondo.cli.main", "sam", "run", "--socket", bench.endpoint, "--", "sleep", "1000"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    for _ in range(3):
        time.sleep(0.2)
        bench.restart("ipc_gateway")
    bench.start("sam")
    name = (caller.communicate(timeout=PATIENCE_S)[0]).strip()
    assert [each["id"] for each in bench.sam.status()] == [name]
    assert is_alive(bench.status(name)["pid"])


def test_where_no_node_is(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("RONDO_SOCKET", f"ipc://{tmp_path}/nothing.sock")
    with pytest.raises(rondo.Timeout, match="no node answers"):
        sam.initialize(1000, sam.Policy.QUIT, timeout=0.2)
    with pytest.raises(rondo.BadHandle, match="initialize"):
        sam.register()


def test_no_answer_of_many_at_once_is_lost(bench: Bench) -> None:
    """A thousand requests in one go: more than a queue of the bus takes."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.sndhwm = socket.rcvhwm = 0
    socket.connect(bench.endpoint)
    blob = encode_request(Op.STATUS, {})
    for number in range(BURST):
        socket.send(encode(Kind.SAM_REQUEST, 0, number, blob))
    answered: set[int] = set()
    while len(answered) < BURST:
        assert socket.poll(20_000), f"{len(answered)} of {BURST} are answered"
        _, _, (number, code, _) = decode(socket.recv(), FROM_GATEWAY)
        assert code in (Code.OK, Code.TRY_AGAIN)
        answered.add(number)
    assert bench.told()["counters"]["replies_dropped"] == 0
    context.destroy(linger=0)
