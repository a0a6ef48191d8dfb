"""Signals reach the application and nobody else: by certainty of who it is, and by its owner's rights."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rondo.node.supervision import processes
from services.sam import procs, signals
from services.sam.adoption import Watch
from services.sam.signals import start_time_of, user_of

ALICE, BOB = 12345, 12346
PATIENCE_S = 30.0

SLEEP = ("sleep", "1000")
LEFT_BEHIND = "sleep 1000 & echo $!"
"""A script whose child outlives it, in its group."""


@pytest.fixture(name="stack")
def _stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def started(
    stack: ExitStack, *argv: str, uid: int | None = None, group: int = 0, more: dict[str, str] | None = None
) -> "subprocess.Popen[str]":
    """A process in a group of its own, or in that one; killed when the test is over."""
    ids = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
    environment = os.environ | (more or {})
    made: subprocess.Popen[str] = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        text=True,
        process_group=group,
        env=environment,
        cwd="/",
        **ids,  # type: ignore[call-overload]
    )

    def end() -> None:
        made.kill()
        made.wait()
        assert made.stdout is not None
        made.stdout.close()

    stack.callback(end)
    return made


def is_there(pid: int) -> bool:
    """Whether it lives; a zombie does not."""
    return procs.is_alive(pid, start_time_of(pid))


def is_old_kernel() -> bool:
    """Whether it cannot signal a group by a pidfd."""
    descriptor = os.pidfd_open(os.getpid())
    try:
        signal.pidfd_send_signal(descriptor, 0, None, signals.PIDFD_SIGNAL_PROCESS_GROUP)
    except OSError as error:
        return error.errno == errno.EINVAL
    finally:
        os.close(descriptor)
    return False


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while is_there(pid):
        assert time.monotonic() < deadline, f"process {pid} lives"
        time.sleep(0.005)


@pytest.mark.parametrize("flag", [signals.PIDFD_SIGNAL_PROCESS_GROUP, 1 << 30], ids=["by pidfd", "before Linux 6.9"])
def test_the_group_of_a_living_leader_is_signalled(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch, flag: int
) -> None:
    monkeypatch.setattr(signals, "PIDFD_SIGNAL_PROCESS_GROUP", flag)
    leader = started(stack, "sh", "-c", f"{LEFT_BEHIND}; sleep 1000")
    assert leader.stdout is not None
    child = int(leader.stdout.readline())
    watch = Watch(leader.pid, start_time_of(leader.pid), os.geteuid())
    watch.send(signal.SIGTERM, to_group=True)
    watch.close()
    assert leader.wait(PATIENCE_S) == -signal.SIGTERM
    wait_for_end(child)


def test_a_number_that_may_be_somebody_elses_by_now_is_not_signalled(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader was reaped, and another process has its number: as far as an old kernel tells, that is its group."""
    monkeypatch.setattr(signals, "PIDFD_SIGNAL_PROCESS_GROUP", 1 << 30)
    leader = started(stack, *SLEEP)
    watch = Watch(leader.pid, start_time_of(leader.pid), os.geteuid())
    leader.kill()
    leader.wait()
    victim = started(stack, *SLEEP)
    while start_time_of(victim.pid) == watch.start_time:  # clock ticks are coarse; to use a number again takes longer
        victim = started(stack, *SLEEP)
    watch.pid = victim.pid  # what it would be after the numbers went round once
    watch.send(signal.SIGKILL, to_group=True)
    watch.close()
    assert victim.poll() is None
    victim.send_signal(signal.SIGTERM)
    assert victim.wait(PATIENCE_S) == -signal.SIGTERM, "nothing came before"


def test_what_a_reaped_leader_has_left_in_its_group_ends_too(stack: ExitStack) -> None:
    """Where the kernel can signal a group by a pidfd; where it cannot, that lives on: nothing is certain of it."""
    leader = started(stack, "sh", "-c", f"{LEFT_BEHIND}; sleep 1000")
    assert leader.stdout is not None
    child = int(leader.stdout.readline())
    watch = Watch(leader.pid, start_time_of(leader.pid), os.geteuid())
    leader.kill()
    leader.wait()
    watch.send(signal.SIGKILL, to_group=True)
    watch.close()
    if is_old_kernel():
        assert is_there(child)
        os.kill(child, signal.SIGKILL)
    wait_for_end(child)


@pytest.mark.root
def test_what_its_owner_may_not_signal_is_not_signalled(stack: ExitStack) -> None:
    """A process of another user in the group, as a program that changes its user leaves one there."""
    leader = started(stack, *SLEEP, uid=ALICE)
    other = started(stack, *SLEEP, uid=BOB, group=leader.pid)
    roots = started(stack, *SLEEP, group=leader.pid)
    watch = Watch(leader.pid, start_time_of(leader.pid), ALICE)
    watch.send(signal.SIGKILL, to_group=True)
    assert leader.wait(PATIENCE_S) == -signal.SIGKILL
    watch.send(signal.SIGKILL, to_group=True)  # and once more after it was reaped
    watch.close()
    assert (other.poll(), roots.poll()) == (None, None)
    assert os.getresuid() == (0, 0, 0), "the rights are back"


@pytest.mark.root
def test_nobody_reaches_who_signals_with_his_rights(stack: ExitStack) -> None:
    """In that moment the owner must be able to do nothing to the process that signals: not to stop it, for one."""
    script = f"""
import os, sys
from services.sam.signals import rights_of
with rights_of({ALICE}):
    print(flush=True)
    sys.stdin.readline()
"""
    holder = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    kill = started(stack, "sh", "-c", f"kill -STOP {holder.pid}; cat /proc/{holder.pid}/environ", uid=ALICE)
    assert kill.wait(PATIENCE_S) != 0
    assert kill.stdout is not None
    assert kill.stdout.read() == ""
    assert signals.stat_of(holder.pid)[0] != b"T"
    holder.communicate(b"\n", PATIENCE_S)
    assert holder.returncode == 0


@pytest.mark.root
def test_a_mark_counts_for_processes_of_the_same_owner_alone(stack: ExitStack, tmp_path: Path) -> None:
    """Whoever has another user's mark in his environment is neither taken for that application nor killed as it."""
    (tmp_path / "sam").mkdir()
    os.mkfifo(tmp_path / "sam" / "server-1.out")
    os.chown(tmp_path / "sam" / "server-1.out", ALICE, -1)
    marks = {"RONDO_SAM_ID": "server-1", "RONDO_SOCKET": f"ipc://{tmp_path}/gateway.sock"}
    alices = started(stack, "setsid", "-w", *SLEEP, uid=ALICE, more=marks)
    bobs = started(stack, "setsid", "-w", *SLEEP, uid=BOB, more=marks)
    socket_mark = f"RONDO_SOCKET=ipc://{tmp_path}/gateway.sock".encode()

    def marked(uid: int) -> list[int]:
        return [pid for pid, marks in procs.marked(socket_mark, b"RONDO_SAM_ID=", uid) if marks]

    deadline = time.monotonic() + PATIENCE_S
    while not (marked(ALICE) and marked(BOB)):
        assert time.monotonic() < deadline
    assert {user_of(pid) for pid in marked(ALICE)} == {ALICE}
    assert {user_of(pid) for pid in processes.find_applications(tmp_path)} == {ALICE}
    while processes.kill_applications(tmp_path):
        assert time.monotonic() < deadline
    alices.wait(PATIENCE_S)
    assert bobs.poll() is None
    for pid in marked(BOB):
        os.kill(pid, signal.SIGKILL)
