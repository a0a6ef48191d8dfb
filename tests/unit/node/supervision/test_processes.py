"""A node's processes are found by their mark, and nobody else's are touched."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rondo.node.supervision import processes
from rondo.node.supervision.halt import halt, kill

Start = Callable[..., "subprocess.Popen[bytes]"]
SLEEP = "import time; print(flush=True); time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a process that looks like a service of the node in tmp_path, and waits until it runs."""
    started: list[subprocess.Popen[bytes]] = []

    def run(module: str, script: str = SLEEP, run_dir: Path | None = tmp_path) -> "subprocess.Popen[bytes]":
        environment = os.environ | ({processes.MARK: processes.mark(run_dir)} if run_dir else {})
        argv = [sys.executable, "-c", script, "-m", module]
        process = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_services_and_supervisord_are_found(tmp_path: Path, start: Start) -> None:
    totem, supervisord = start("services.totem"), start("rondo.node.supervision.supervisord")
    found = {each.name: each.pid for each in processes.find(tmp_path)}
    assert found == {"totem": totem.pid, "supervisord": supervisord.pid}
    assert processes.find_one(tmp_path, "totem") == processes.Found("totem", totem.pid)
    assert processes.find_one(tmp_path, "cpg") is None


@pytest.mark.parametrize(
    ("module", "name"),
    [("rondo.node.supervision.supervisord", "supervisord"), ("services.sam", "sam"), ("services.sam.keeper", "keeper")],
)
def test_a_copy_that_is_about_to_become_another_program_is_not_a_second_one(
    tmp_path: Path, start: Start, module: str, name: str
) -> None:
    forks = "import os, time; child = os.fork(); child or time.sleep(60); print(child, flush=True); time.sleep(60)"
    parent = start(module, forks)
    (child,) = map(int, Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split())
    try:
        assert processes.find(tmp_path) == [processes.Found(name, parent.pid)]
        parent.kill()
        parent.wait()
        assert [each.pid for each in processes.find(tmp_path)] == [child]
    finally:
        os.kill(child, signal.SIGKILL)


def test_others_are_not(tmp_path: Path, start: Start) -> None:
    start("services.totem", run_dir=None)  # started by hand
    start("services.totem", run_dir=tmp_path / "other")
    start("applications.totem")  # a child of a service
    assert processes.find(tmp_path) == []


def test_the_same_directory_by_another_name(tmp_path: Path, start: Start) -> None:
    start("services.totem")
    (tmp_path / "link").symlink_to(tmp_path)
    assert len(processes.find(tmp_path / "link")) == 1


def test_one_that_has_gone_cannot_be_held(tmp_path: Path, start: Start) -> None:
    process = start("services.totem")
    found = processes.find(tmp_path)
    process.kill()
    process.wait()
    assert processes.grips(tmp_path, found) == []
    with pytest.raises(ProcessLookupError):
        processes.Grip(tmp_path, processes.Found("totem", os.getpid()))


def test_orphans_are_stopped_by_force_where_they_do_not_listen(tmp_path: Path, start: Start) -> None:
    totem = start("services.totem")
    cpg = start("services.cpg", DEAF)
    stopped = start("services.ipc_gateway")
    stopped.send_signal(signal.SIGSTOP)
    held = processes.grips(tmp_path, processes.find(tmp_path))
    assert processes.end(held, seconds=5.0) == ["cpg"]
    assert [each.wait() for each in (totem, cpg, stopped)] == [-signal.SIGTERM, -signal.SIGKILL, -signal.SIGTERM]


def test_halt_stops_what_is_left_clients_first(tmp_path: Path, start: Start) -> None:
    start("services.totem")
    start("services.ipc_gateway")
    (tmp_path / "node.msgpack").write_bytes(b"key")
    halted = halt(tmp_path)
    assert halted.ran
    assert halted.orphans == ["ipc_gateway", "totem"]
    assert halted.killed == []
    assert not (tmp_path / "node.msgpack").exists()
    assert not halt(tmp_path).ran


def test_kill_ends_everything_at_once(tmp_path: Path, start: Start) -> None:
    started = [start("services.totem", DEAF), start("rondo.node.supervision.supervisord", DEAF)]
    kill(tmp_path)
    assert [each.wait() for each in started] == [-signal.SIGKILL, -signal.SIGKILL]


FIND = """
import os, sys
from pathlib import Path
from rondo.node.supervision import processes
os.setgroups([]); os.setresgid(*3 * [12345]); os.setresuid(*3 * [12345])
print([each.name for each in processes.find(Path(sys.argv[1]))])
"""


@pytest.mark.root
def test_services_whose_memory_is_private_are_found_by_their_own_user(tmp_path: Path) -> None:
    """He may not see their environment; their command line he may. Another user's are not his."""
    arguments = ["-m", "services.totem", "--resolved", str(tmp_path / "node.msgpack")]
    arguments += ["--run-dir", str(tmp_path)]
    environment = os.environ | {processes.MARK: processes.mark(tmp_path)}
    for uid, found in ((12345, "['totem']"), (12346, "[]")):
        drop = f"import os; os.setgroups([]); os.setresgid(*3 * [{uid}]); os.setresuid(*3 * [{uid}])"
        private = f"from rondo.node.service import keep_memory_private\n{drop}\nkeep_memory_private()\n{SLEEP}"
        with subprocess.Popen(
            [sys.executable, "-c", private, *arguments], env=environment, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            assert [each.pid for each in processes.find(tmp_path)] == [process.pid], "root sees it by its mark"
            done = subprocess.run(
                [sys.executable, "-c", FIND, str(tmp_path)], capture_output=True, text=True, check=True
            )
            assert done.stdout.strip() == found
            other = subprocess.run(
                [sys.executable, "-c", FIND, str(tmp_path / "other")], capture_output=True, text=True, check=True
            )
            assert other.stdout.strip() == "[]"
            process.kill()


def test_no_service_leaves_a_core_or_shows_its_memory(tmp_path: Path) -> None:
    """Its memory belongs to root then, as /proc shows it."""
    script = "from rondo.node.service import keep_memory_private\nkeep_memory_private()\n"
    script += "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"  # PR_GET_DUMPABLE
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
