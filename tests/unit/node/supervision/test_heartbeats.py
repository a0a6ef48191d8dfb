"""The watchdog in a real supervisord, over processes that spin, that wait, and that do their work."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rondo.node.supervision import record
from rondo.testing.lab.waiting import wait_for

TIMEOUT_MS = 4000
"""Longer than a loaded machine holds up one process alone."""

CONFIGURATION = """\
[supervisord]
nodaemon = true
silent = true
logfile = {directory}/supervisord.log
pidfile = {directory}/supervisord.pid
childlogdir = {directory}
minfds = 256
minprocs = 16

[unix_http_server]
file = {socket}

[rpcinterface:rondo]
supervisor.rpcinterface_factory = rondo.node.supervision.plugin:make
"""
PROGRAM = """
[program:{name}]
command = {python} -c "{source}"
startsecs = 0
autorestart = true
stdout_logfile = {directory}/{name}.log
redirect_stderr = true
"""
READ_TWICE = "import os, time; os.read(0, 9); os.read(0, 9); "
ENDINGS = {
    "well": "[os.read(0, 9) for _ in iter(int, 1)]",
    "spins": "[None for _ in iter(int, 1)]",
    "waits": "time.sleep(10**6)",
}


@pytest.fixture
def supervisord(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    programs = "".join(
        PROGRAM.format(name=name, python=sys.executable, source=READ_TWICE + ending, directory=tmp_path)
        for name, ending in ENDINGS.items()
    )
    configuration = tmp_path / "supervisord.conf"
    # pytest's directories are too long for a socket.
    socket = tempfile.mktemp(prefix="rondo-test-", suffix=".sock", dir="/tmp")
    configuration.write_text(CONFIGURATION.format(directory=tmp_path, socket=socket) + programs)
    environment = os.environ | {"RONDO_RUN_DIR": str(tmp_path), "RONDO_SERVICE_TIMEOUT_MS": str(TIMEOUT_MS)}
    argv = [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)]
    with subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield process
        process.terminate()


@pytest.mark.slow
@pytest.mark.usefixtures("supervisord")
def test_who_spins_or_waits_is_killed_and_started_again_and_who_works_is_not(tmp_path: Path) -> None:
    def restarts() -> dict[str, int]:
        return record.read(tmp_path).restarts

    found = wait_for(restarts, lambda now: now.get("spins", 0) > 1 < now.get("waits", 0), "two restarts each", 120.0)
    assert found["well"] == 0
    log = (tmp_path / "supervisord.log").read_text()
    assert "spins (process " in log
    assert f"has not moved for {TIMEOUT_MS} ms (system.service_timeout): it computes. It is killed" in log
    assert "it waits for something. It is killed" in log


def send_all(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to all of them that are there: one of those that hang may just have been killed."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@pytest.mark.slow
def test_a_node_that_stood_still_as_a_whole_kills_nobody(tmp_path: Path, supervisord: subprocess.Popen[bytes]) -> None:
    # Those that hang are killed until the end of time; only `well` is looked at.
    wait_for(lambda: record.read(tmp_path).restarts.get("spins", 0), lambda count: count > 0, "a restart", 60.0)
    children = Path(f"/proc/{supervisord.pid}/task/{supervisord.pid}/children")
    os.kill(supervisord.pid, signal.SIGSTOP)  # first, so that it starts no other ones
    stopped = [supervisord.pid, *map(int, children.read_text().split())]
    send_all(stopped, signal.SIGSTOP)
    before = record.read(tmp_path).restarts
    with pytest.raises(subprocess.TimeoutExpired):
        supervisord.wait(2 * TIMEOUT_MS / 1000)
    send_all(stopped, signal.SIGCONT)  # the watchdog is the first to go on
    wait_for(lambda: record.read(tmp_path).restarts, lambda now: now["spins"] > before["spins"] + 1, "it watches", 60.0)
    assert record.read(tmp_path).restarts["well"] == 0
