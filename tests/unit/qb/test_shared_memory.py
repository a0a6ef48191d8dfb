"""The files of a connection: made as clients expect them, removed with it, and truncated at any moment."""

import contextlib
import ctypes
import mmap
import os
import resource
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.qb_gateway.rings import layout
from services.qb_gateway.rings.layout import RingError
from services.qb_gateway.shared_memory import PLACE, ConnectionMemory, prefix_of, sweep
from services.qb_gateway.truncation import TruncationGuard

ROOT = (0, 0)


@pytest.fixture
def prefix(tmp_path: Path) -> Iterator[str]:
    """Of this test alone."""
    prefix = prefix_of(tmp_path)
    yield prefix
    assert not list(PLACE.glob(f"{prefix}*")), "something was left in shared memory"


@pytest.fixture
def guard() -> Iterator[TruncationGuard]:
    """Installed."""
    guard = TruncationGuard()
    guard.install()
    yield guard
    guard.uninstall()


def make(guard: TruncationGuard, prefix: str) -> ConnectionMemory:
    return ConnectionMemory(guard, prefix, "cpg", 65536, ROOT)


def announce_a_chunk(memory: ConnectionMemory) -> None:
    """What a client does last when it has written a request."""
    with open(memory.paths["request"] + "-header", "r+b") as file:
        mapped = mmap.mmap(file.fileno(), layout.REQUEST_HEADER_BYTES)
    address = ctypes.addressof(ctypes.c_char.from_buffer(mapped)) + layout.SEMAPHORE_OFFSET
    ctypes.PyDLL(None).sem_post(ctypes.c_void_p(address))
    mapped.close()


def test_files_have_the_sizes_that_clients_expect(guard: TruncationGuard, prefix: str) -> None:
    memory = make(guard, prefix)
    sizes = {path.name: path.stat().st_size for path in Path(memory.paths["event"]).parent.iterdir()}
    assert sizes == {
        "qb-request-cpg-header": 8252, "qb-request-cpg-data": 69632,
        "qb-response-cpg-header": 8248, "qb-response-cpg-data": 69632,
        "qb-event-cpg-header": 8248, "qb-event-cpg-data": 69632,
    }  # fmt: skip
    memory.close()


def test_what_a_predecessor_left_is_swept_and_nothing_else(guard: TruncationGuard, prefix: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    kept = make(guard, prefix_of(other))
    left = make(guard, prefix)
    assert sweep(prefix) == 1
    assert not Path(left.paths["event"]).parent.exists()
    assert Path(kept.paths["event"] + "-data").exists()
    left.close()
    kept.close()


@pytest.mark.parametrize("file", ["event-header", "event-data", "request-header", "request-data"])
def test_a_truncated_file_is_noticed_and_survived(guard: TruncationGuard, prefix: str, file: str) -> None:
    memory, other = make(guard, prefix), make(guard, prefix)
    announce_a_chunk(memory)
    ring, _, part = file.partition("-")
    os.truncate(f"{memory.paths[ring]}-{part}", 0)
    memory.events.write(deque([b"x" * 100] * 50))
    with contextlib.suppress(RingError):
        memory.requests.take()
    memory.set_flow_control(2)
    assert not memory.is_whole
    assert other.is_whole
    other.events.write(deque([b"y"]))
    memory.close()
    other.close()
    assert not guard.hit


def test_a_fault_elsewhere_ends_the_process_as_ever() -> None:
    program = (
        "import mmap, os, tempfile\n"
        "from services.qb_gateway.truncation import TruncationGuard\n"
        "TruncationGuard().install()\n"
        "file = tempfile.TemporaryFile()\n"
        "file.truncate(4096)\n"
        "memory = mmap.mmap(file.fileno(), 4096)\n"
        "file.truncate(0)\n"
        "memory[0]\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, timeout=60)
    assert done.returncode == -7


def test_a_ring_that_cannot_be_made_leaves_nothing(guard: TruncationGuard, prefix: str) -> None:
    with pytest.raises(OSError, match="name too long"):
        ConnectionMemory(guard, prefix, "cpg" + "x" * 300, 65536, ROOT)


def test_without_descriptors_nothing_is_left_whichever_file_lacks_one(guard: TruncationGuard, prefix: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    before = len(os.listdir("/proc/self/fd"))
    for free in range(3):
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + free, hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                make(guard, prefix)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert not list(PLACE.glob(f"{prefix}*"))
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.root
def test_a_node_without_rights_lets_in_the_user_of_the_client_and_no_other(prefix: str) -> None:
    node, client, stranger = 65531, 65533, 65532

    def run_as(user: int, program: str, *arguments: str) -> "subprocess.Popen[str]":
        other = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        return subprocess.Popen(
            [*other, sys.executable, "-c", program, *arguments],
            cwd=Path(__file__).parents[3], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    make = (
        "import sys\n"
        "from services.qb_gateway.shared_memory import ConnectionMemory\n"
        "from services.qb_gateway.truncation import TruncationGuard\n"
        "memory = ConnectionMemory(TruncationGuard(), sys.argv[1], 'cpg', 65536, (int(sys.argv[2]),) * 2)\n"
        "print(memory.paths['request'], flush=True)\n"
        "sys.stdin.read()\n"
        "memory.close()\n"
    )
    maker = run_as(node, make, prefix, str(client))
    assert maker.stdout is not None
    path = maker.stdout.readline().strip()
    opens = "import os, sys; os.truncate(os.open(sys.argv[1] + '-header', os.O_RDWR), 8252)"
    for user, status in ((client, 0), (stranger, 1)):
        opener = run_as(user, opens, path)
        opener.communicate()
        assert opener.returncode == status, user
    maker.communicate()
    assert maker.returncode == 0
