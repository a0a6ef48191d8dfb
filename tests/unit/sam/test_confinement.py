"""Who is shut in more than what SAM starts gets nothing started: each way to be shut in is seen."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.sam.confinement import confinement_of
from services.sam.signals import start_time_of

READ_SYSCALL_FILTER = """
import ctypes, struct
program = struct.pack('HBBI', 0x06, 0, 0, 0x7fff0000)  # BPF_RET: allow everything
buffer = ctypes.create_string_buffer(program)
header = struct.pack('HxxxxxxQ', 1, ctypes.addressof(buffer))
assert ctypes.CDLL(None).prctl(22, 2, header, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
"""
Confined = Callable[..., str]


@pytest.fixture(name="confined")
def _confined() -> Iterator[Confined]:
    """What is found of a process that was started in that way; `setup` is what it does to itself."""
    started: list[subprocess.Popen[bytes]] = []

    def find(*wrapper: str, setup: str = "", uid: int | None = None) -> str:
        argv = [*wrapper, sys.executable, "-c", f"import os, sys\n{setup}\nos.write(1, b'x'); sys.stdin.read()"]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.read(1) == b"x"
        pid = innermost(process.pid)
        return confinement_of(pid, start_time_of(pid), os.geteuid() if uid is None else uid)

    yield find
    for process in started:
        process.communicate(timeout=30)


def innermost(pid: int) -> int:
    """The last of its descendants: what a wrapper that forks has started."""
    while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        pid = int(children[0])
    return pid


def test_who_is_as_free_as_we_are_is_not_confined(confined: Confined) -> None:
    assert confinement_of(os.getpid(), start_time_of(os.getpid()), os.geteuid()) == ""
    assert confined() == ""


@pytest.mark.skipif(
    "NoNewPrivs:\t1" in Path("/proc/self/status").read_text(),
    reason="these tests run with no_new_privs themselves, so that this would shut in nothing more",
)
def test_no_new_privs(confined: Confined) -> None:
    assert confined("setpriv", "--no-new-privs") == "it has no_new_privs"


@pytest.mark.namespaces
def test_a_user_namespace_of_its_own(confined: Confined) -> None:
    """As in a container without root; whichever user it is there."""
    assert confined("unshare", "--user", "--map-root-user") == "it is in another user namespace"


@pytest.mark.root
@pytest.mark.parametrize(
    ("option", "kind"),
    [
        ("--mount", "mnt"),
        ("--net", "net"),
        ("--ipc", "ipc"),
        ("--uts", "uts"),
        ("--cgroup", "cgroup"),
        ("--pid", "pid"),
        ("--time", "time"),
    ],
)
def test_each_namespace_of_its_own(confined: Confined, option: str, kind: str) -> None:
    assert confined("unshare", option, "--fork") == f"it is in another {kind} namespace"


@pytest.mark.root
def test_another_root_directory(confined: Confined, tmp_path: Path) -> None:
    assert confined(setup=f"os.chroot({str(tmp_path)!r})") == "it has another root directory"


@pytest.mark.root
def test_capabilities(confined: Confined) -> None:
    """Root without some of them would get them back; so would others by a program with privileges."""
    assert confined("setpriv", "--bounding-set=-sys_admin") == "capabilities were taken from it"
    assert confined("setpriv", "--bounding-set=-sys_admin", uid=12345) == "capabilities were taken from it"
    drop = (
        "import ctypes, struct\n"
        "header = struct.pack('Ii', 0x20080522, 0)\n"
        "assert ctypes.CDLL(None).capset(header, bytes(24)) == 0"
    )
    assert confined(setup=drop) == "it lacks capabilities of root"
    assert confined(setup=drop, uid=12345) == "", "others have none in any case"


@pytest.mark.root
def test_a_filter_of_system_calls(confined: Confined) -> None:
    assert confined(setup=READ_SYSCALL_FILTER) == "its system calls are filtered (seccomp)"


def test_who_is_gone_is_not_believed() -> None:
    """Nor who has its number now."""
    assert "cannot be seen" in confinement_of(2**22 + 1, 1, 0)
    assert confinement_of(os.getpid(), start_time_of(os.getpid()) + 1, os.geteuid()) == "it has ended"
