"""User and group numbers above 2^31: the kernel's are unsigned, and so are those of whoever connects.

`peer_of` tells them to all who accept connections.
"""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rondo.ipc.local_router import Credentials, LocalRouter
from tests.unit.gateway.conftest import eventually

UID, GID = 3_000_000_000, 3_000_000_001


def as_other_user(path: Path, connect: Callable[[socket.socket], object]) -> int:
    """A child of that user connects and stays until it is told to go: its pid."""
    child = os.fork()
    if child:
        return child
    try:
        os.setgroups([])
        os.setgid(GID)
        os.setuid(UID)
        with socket.socket(socket.AF_UNIX) as stream:
            connect(stream)
            stream.recv(1)
    finally:
        os._exit(0)


@pytest.fixture(name="run_dir")
def _run_dir() -> Iterator[Path]:
    """A directory that every user may look into."""
    with tempfile.TemporaryDirectory(prefix="rondo-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.mark.root
def test_who_connects_has_his_own_numbers(run_dir: Path) -> None:
    admitted: list[Credentials] = []
    path = run_dir / "s"

    def admit(who: Credentials) -> bool:
        admitted.append(who)
        return False

    router = LocalRouter(f"ipc://{path}", 0o666, admit=admit)
    child = as_other_user(path, lambda stream: stream.connect(str(path)))
    try:
        eventually(lambda: router.receive() == [] and admitted)
        assert [(who.pid, who.uid, who.gid) for who in admitted] == [(child, UID, GID)]
    finally:
        os.waitpid(child, 0)
        router.close()
