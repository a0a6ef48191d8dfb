"""Services that a node runs only where they are asked for: signals to them, inherited descriptors, odd umasks.

What the core services do is in test_signals. Here the node serves C programs, a page and a command too. It has a
network and a /dev/shm of its own, because the names of C programs' sockets exist once in each network.
"""

import contextlib
import os
import shlex
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rondo.node.supervision import OPTIONAL, RESOLVED_CONFIGURATION, SERVICES, processes
from rondo.node.supervision.halt import kill
from rondo.testing.lab.waiting import wait_for
from tests.cluster.test_node import COMMAND_SECONDS, CONFIGURATION, NODE, RONDO, Node, debug, wait_until_whole

BUSY_S = 60.0
DESCRIPTORS_MAX = 60
"""A process of an idle node has far fewer descriptors."""
ALL = {*SERVICES, "supervisord"}
SECTIONS = """\
logging {{
    to_logfile: yes
    logfile: {log}
}}
web {{
}}
notify {{
    command: {command}
    kinds: node
}}
"""
HOLDER = "ip link set lo up && mount -t tmpfs -o mode=1777 tmpfs /dev/shm && echo ready && exec sleep 1000"
REDIRECTIONS = {
    "3 to 5 are open": "3</dev/null 4</dev/null 5</dev/null",
    "all are closed": "<&- >&- 2>&-",
    "many are open": " ".join(f"{number}</dev/null" for number in range(3, 250)),
}


class Full(Node):
    """A node with every service, in a network of its own."""

    def __init__(self, directory: Path) -> None:
        self.told = directory / "told"
        self.log = directory / "log"
        command = directory / "command"
        command.write_text(f'#!/bin/sh\necho "$RONDO_EVENT" >> {shlex.quote(str(self.told))}\n')
        command.chmod(0o755)
        text = CONFIGURATION.format(port=5405, nodes=NODE.format(1)).replace("qb_ipc: no", "qb_ipc: yes")
        config = directory / "corosync.conf"
        config.write_text(text + SECTIONS.format(command=command, log=self.log))
        super().__init__(1, config, directory)
        self.holder = subprocess.Popen(
            ["unshare", "-rnm", "sh", "-c", HOLDER], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == "ready\n"

    def command(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run `rondo ARGUMENTS` in the node's network."""
        return self.run(shlex.join([*RONDO, *arguments, "--run-dir", str(self.run_dir)]), check=check)

    def run(self, line: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a line of bash in the node's network."""
        enter = ["nsenter", "-t", str(self.holder.pid), "-U", "-n", "-m", "--preserve-credentials", "--"]
        done = subprocess.run(
            [*enter, "bash", "-c", line],
            capture_output=True, text=True, timeout=COMMAND_SECONDS, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        assert not check or done.returncode == 0, done.stderr
        return done

    def pids(self) -> dict[str, int]:
        """Only supervisord and its children: notify's child looks like notify until it has become the command."""
        found = processes.find(self.run_dir)
        supervisors = {each.pid for each in found if each.name == "supervisord"}
        return {each.name: each.pid for each in found if supervisors & {each.pid, parent_of(each.pid)}}

    def start_with(self, before: str = "", redirections: str = "") -> None:
        """`rondo start` in a shell that has done this before, with these redirections."""
        line = shlex.join([*RONDO, *self.start_arguments, "--run-dir", str(self.run_dir)])
        self.run(f"{before}\nexec {line} {redirections}")
        self.wait_until_all_run()

    def wait_until_all_run(self) -> None:
        """Wait for the services that only observe. A start does not wait for them."""
        wait_for(self.pids, lambda now: now.keys() == ALL, "every service runs", BUSY_S)
        wait_until_whole(self)


def parent_of(pid: int) -> int:
    """The parent of a process; 0 if the process has ended."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


@pytest.fixture
def node() -> Iterator[Full]:
    with tempfile.TemporaryDirectory(prefix="rondo-test-", dir="/tmp") as name:
        full = Full(Path(name))
        yield full
        kill(full.run_dir)
        full.holder.kill()
        full.holder.communicate()


def wait_for_next_lives(node: Full, before: dict[str, int], names: tuple[str, ...]) -> None:
    wait_for(
        node.pids,
        lambda now: now.keys() == ALL and all(now[name] != before[name] for name in names),
        "all are back",
        BUSY_S,
    )
    wait_until_whole(node)


def has_open(pid: int, path: Path) -> bool:
    """Whether this process has the file open that has this name now. (A name of another file ends with "(deleted)", or
    is the one that this file was moved to.)"""
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it is just being closed
            if os.readlink(each) == str(path):
                return True
    return False


@pytest.mark.slow
def test_signals_to_optional_services(node: Full) -> None:
    node.start_with()
    before = node.pids()
    for name in OPTIONAL:
        node.log.rename(node.log.with_name("moved"))
        os.kill(before[name], signal.SIGHUP)
        wait_for(lambda name=name: has_open(before[name], node.log), bool, f"{name} has a new log", BUSY_S)  # type: ignore[misc]
        debug(node, name)
    assert node.pids() == before
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        before = node.pids()
        for name in OPTIONAL:
            os.kill(before[name], number)
        wait_for_next_lives(node, before, OPTIONAL)
        now = node.pids()
        assert {name: pid for name, pid in now.items() if name not in OPTIONAL} == {
            name: pid for name, pid in before.items() if name not in OPTIONAL
        }
    log_text = node.command("logs", "supervisord").stdout
    for name in OPTIONAL:
        assert log_text.count(f"exited: {name} (exit status 0; not expected)") == 2
        assert log_text.count(f"exited: {name} (terminated by SIGKILL; not expected)") == 1


@pytest.mark.parametrize("redirections", REDIRECTIONS.values(), ids=REDIRECTIONS)
@pytest.mark.slow
def test_a_restart_by_sighup_with_every_service(node: Full, redirections: str) -> None:
    node.start_with(redirections=redirections)
    before = node.pids()
    for pid in before.values():
        assert len(os.listdir(f"/proc/{pid}/fd")) < DESCRIPTORS_MAX
    os.kill(before["supervisord"], signal.SIGHUP)
    wait_for_next_lives(node, before, SERVICES)
    assert node.pids()["supervisord"] == before["supervisord"]
    assert node.command("stop").returncode == 0
    assert node.pids() == {}


def modes(node: Full) -> dict[str, str]:
    """Kind and permissions of all files that the node has written."""
    found = {}
    for top in (node.run_dir, node.state_dir):
        for path in (top, *top.rglob("*")):
            with contextlib.suppress(FileNotFoundError):  # it is just being replaced
                found[str(path)] = stat.filemode(path.lstat().st_mode)
    return found


@pytest.mark.slow
def test_what_a_node_writes_has_its_modes_whatever_the_umask(node: Full) -> None:
    first: dict[str, str] = {}
    for umask in ("077", "027", "0"):
        node.start_with(f"umask {umask}")
        wait_for(node.told.exists, bool, "the command has run", BUSY_S)
        for pid in node.pids().values():
            assert "Umask:\t0077\n" in Path(f"/proc/{pid}/status").read_text()
        found = modes(node)
        assert f"{node.run_dir}/{RESOLVED_CONFIGURATION}" in found
        first = first or found
        same = (found.keys() & first.keys()) - {str(node.state_dir)}  # that is as closed as the umask wants it
        assert len(same) > len(SERVICES)
        assert {path: found[path] for path in same} == {path: first[path] for path in same}
        writable = [path for path, mode in found.items() if mode[0] in "-d" and not mode[5] == mode[8] == "-"]
        assert writable == []
        assert node.command("stop").returncode == 0
        for top in (node.run_dir, node.state_dir):
            subprocess.run(["rm", "-r", top], check=True)
        node.told.unlink()
