"""The laboratory itself: hosts reach each other, are apart where they must be, and nothing is left behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rondo.testing.lab.netns import Lab, LabError, processes_in_namespace_of
from rondo.testing.lab.waiting import wait_for
from tests.cluster.probing import Listener, send

pytestmark = pytest.mark.namespaces

REPOSITORY = Path(__file__).parents[2]
# A daemon: a session of its own, and its parent gone.
DAEMON = ["sh", "-c", "setsid sleep 600 & echo $!"]
# A test that is killed before it can close its lab.
KILLED_TEST = """
import json, sys, time
from pathlib import Path
from rondo.testing.lab.netns import Lab, processes_in_namespace_of
lab = Lab(Path(sys.argv[1]), 2)
lab.host(1).popen(["sleep", "600"])
parent = lab.host(2).popen(["sh", "-c", "setsid sleep 600 & sleep 0.2; echo"], stdout=-1)
parent.stdout.readline()
parent.wait()
holders = [lab.switch.holder_pid, lab.host(1).holder_pid, lab.host(2).holder_pid]
pids = []
while len(pids) != 5:  # the first one may not have entered its namespace yet
    pids = [pid for holder in holders for pid in processes_in_namespace_of(holder)]
print(json.dumps(pids), flush=True)
time.sleep(600)
"""


def is_running(pid: int) -> bool:
    """True if a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def running(pids: list[int]) -> list[int]:
    return [pid for pid in pids if is_running(pid)]


@pytest.mark.parametrize("address", ["10.77.0.2", "fd77::2"])
def test_hosts_reach_each_other_by_unicast(lab: Lab, address: str) -> None:
    listener = Listener(lab.host(2))
    send(lab.host(3), address)
    assert listener.wait(1) == [{"from": address[:-1] + "3", "size": 100, "number": 0}]


@pytest.mark.parametrize("group", ["239.192.7.7", "ff15::7777"])
def test_multicast_crosses_the_bridge(lab: Lab, group: str) -> None:
    listeners = [Listener(lab.host(number), group) for number in (2, 3)]
    send(lab.host(1), group, count=3)
    for listener in listeners:
        assert [datagram["number"] for datagram in listener.wait(3)] == [0, 1, 2]


def test_a_host_has_a_run_directory_and_shared_memory_of_its_own(lab: Lab) -> None:
    for place in ("/run/mark", "/dev/shm/mark"):
        lab.host(1).run(["sh", "-c", f"echo here > {place}"])
        assert lab.host(1).path(place).read_text() == "here\n"
        assert not lab.host(2).path(place).exists()
        assert not Path(place).exists()


def test_a_process_in_a_host_has_its_real_pid_and_takes_signals(lab: Lab) -> None:
    process = lab.host(1).start(["sleep", "600"], "sleeper")
    wait_for(lambda: Path(f"/proc/{process.pid}/comm").read_text(), "sleep\n".__eq__, "sleep runs", 60)
    process.signal(signal.SIGSTOP)
    status = Path(f"/proc/{process.pid}/status")
    wait_for(status.read_text, lambda text: "State:\tT" in text, "the process is stopped", 60)
    process.signal(signal.SIGCONT)
    wait_for(status.read_text, lambda text: "State:\tS" in text, "the process goes on", 60)
    process.kill()
    assert process.exit_status == -signal.SIGKILL


def test_output_and_environment(lab: Lab) -> None:
    process = lab.host(1).start(["sh", "-c", "echo $GREETING; echo bad >&2; exit 3"], "speaker", {"GREETING": "hello"})
    assert process.wait(60) == 3
    assert process.output() == "hello\nbad\n"
    assert "hello\nbad" in lab.outputs()


def test_a_failing_command_says_where_and_why(lab: Lab) -> None:
    with pytest.raises(LabError, match=r"n2: `ip link show nonsense` ended with 1: .*nonsense"):
        lab.host(2).run(["ip", "link", "show", "nonsense"])


def test_closing_a_lab_ends_daemons_too(make_lab: Callable[[int], Lab]) -> None:
    lab = make_lab(1)
    child = lab.host(1).popen(DAEMON, stdout=subprocess.PIPE)
    assert child.stdout is not None
    daemon = int(child.stdout.readline())
    assert child.wait(60) == 0
    pids = [lab.switch.holder_pid, *processes_in_namespace_of(lab.host(1).holder_pid)]
    assert daemon in pids
    lab.close()
    assert running(pids) == []


def test_a_killed_test_leaves_nothing_behind(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", KILLED_TEST, str(tmp_path)]
    with subprocess.Popen(argv, cwd=REPOSITORY, stdout=subprocess.PIPE) as test:
        try:
            assert test.stdout is not None
            pids: list[int] = json.loads(test.stdout.readline())
            assert len(pids) == 5, "three holders, a child and a daemon"
            assert running(pids) == pids
        finally:
            test.kill()
    wait_for(lambda: running(pids), lambda left: left == [], "all processes of the lab end", 60)


def test_a_lab_that_cannot_be_made_is_undone(tmp_path: Path) -> None:
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = children.read_text()
    (tmp_path / "n2").write_text("in the way of the second host's directory")
    with pytest.raises(FileExistsError):
        Lab(tmp_path, 3)
    assert children.read_text() == before
