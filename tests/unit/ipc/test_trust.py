"""Nothing is said at a socket that may be anybody's: not by clients, not by commands."""

import asyncio
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import rondo
import rondo.aio
from rondo import paths
from rondo.errors import SecurityError
from rondo.ipc.control import ControlError, ask
from rondo.ipc.local_dealer import LocalDealer
from rondo.ipc.trust import check_server
from rondo.paths import PathError
from rondo.sam.commands import Sam

STRANGER = 12345
VARIABLES = ("RONDO_RUN_DIR", "RONDO_SOCKET", "XDG_RUNTIME_DIR")


class Trap:
    """A process that listens where a node would, and records what it receives."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.listeners = []
        for name in ("gateway.sock", "totem.ctl"):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(directory / name))
            listener.listen(16)
            os.chmod(directory / name, 0o777)
            self.listeners.append(listener)

    def heard(self) -> bytes:
        """All bytes that it has received so far."""
        heard = b""
        while ready := select.select(self.listeners, [], [], 0.2)[0]:
            stream, _ = ready[0].accept()
            with stream:
                stream.settimeout(0.2)
                try:
                    heard += stream.recv(65536)
                except (TimeoutError, ConnectionError):
                    continue
        return heard

    def close(self) -> None:
        for each in self.listeners:
            each.close()


@pytest.fixture(name="trap")
def _trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trap]:
    """In the directory that this user would take in /tmp, which others may enter: it need not be this user's work."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    directory = tmp_path / "rondo-uid"
    directory.mkdir()
    directory.chmod(0o755)
    monkeypatch.setattr(paths, "run_dir_in_tmp", lambda: directory)
    made = Trap(directory)
    yield made
    made.close()


def connect_async(endpoint: str) -> None:
    async def connect() -> None:
        await rondo.aio.connect(endpoint, timeout=1.0)

    asyncio.run(connect())


CLIENTS: list[Callable[[str], object]] = [
    lambda endpoint: rondo.connect(endpoint, timeout=1.0),
    connect_async,
    lambda endpoint: Sam(endpoint).run(["true"], environment={"PASSWORD": "hunter2"}),
]


@pytest.mark.parametrize("client", CLIENTS, ids=["connect", "aio", "sam"])
def test_clients_say_nothing_in_a_directory_that_others_may_enter(trap: Trap, client: Callable[[str], object]) -> None:
    with pytest.raises(SecurityError, match="others may enter it; chmod 0700"):
        client(f"ipc://{trap.directory}/gateway.sock")
    assert trap.heard() == b""


def test_commands_say_nothing_there(trap: Trap) -> None:
    with pytest.raises(ControlError, match="others may enter it"):
        ask(trap.directory, "totem", "key", do="install", key=b"secret")
    assert trap.heard() == b""


def test_what_this_user_made_himself_is_spoken_to(trap: Trap) -> None:
    trap.directory.chmod(0o700)
    with pytest.raises(ControlError, match="did not answer"):
        ask(trap.directory, "totem", "status", timeout=0.1)
    assert trap.heard() != b""


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_a_directory_for_everybody_is_no_run_directory(tmp_path: Path, mode: int) -> None:
    """With the sticky bit sockets in it are at least their makers': then it is looked at who listens."""
    tmp_path.chmod(mode)
    if mode == 0o777:
        with pytest.raises(PathError, match="everybody may write to it"):
            paths.check_directory(tmp_path)
    else:
        paths.check_directory(tmp_path)


def test_the_default_without_any_directory_is_refused_where_it_is_named(
    trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() or 1000)
    with pytest.raises(PathError, match=r"made by user|others may enter it"):
        paths.run_dir()
    with pytest.raises(PathError):
        paths.client_socket()


def test_a_client_that_waits_for_its_node_takes_the_name_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    directory = tmp_path / "rondo-uid"
    monkeypatch.setattr(paths, "run_dir_in_tmp", lambda: directory)
    assert paths.client_socket(run_dir_option=directory) == f"ipc://{directory}/gateway.sock"
    assert directory.stat().st_mode & 0o777 == 0o700


@pytest.fixture(name="strangers_socket")
def _strangers_socket(tmp_path: Path) -> Iterator[Path]:
    """In a directory of root that a group may write to, somebody has made a socket and listens."""
    tmp_path.chmod(0o755)
    directory = tmp_path / "run"
    directory.mkdir()
    directory.chmod(0o775)
    os.chown(directory, 0, STRANGER)
    script = (
        "import os, socket, sys\n"
        "os.setgroups([]); os.setresgid(*3 * [int(sys.argv[2])]); os.setresuid(*3 * [int(sys.argv[2])])\n"
        "for name in ('gateway.sock', 'totem.ctl'):\n"
        "    s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1] + '/' + name); s.listen(); os.dup(s.fileno())\n"
        "    os.chmod(sys.argv[1] + '/' + name, 0o777); s.detach()\n"
        "print(flush=True); sys.stdin.read()"
    )
    for parent in tmp_path.parents:
        if parent != Path("/tmp") and parent.stat().st_mode & 0o001 == 0:
            parent.chmod(parent.stat().st_mode | 0o011)
    argv = [sys.executable, "-c", script, str(directory), str(STRANGER)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stranger:
        assert stranger.stdout is not None
        stranger.stdout.readline()
        yield directory
        stranger.communicate(timeout=30)


@pytest.mark.root
def test_who_listens_is_looked_at_before_a_word_is_said(strangers_socket: Path) -> None:
    for client in CLIENTS:
        with pytest.raises(SecurityError, match=f"user {STRANGER} answers there"):
            client(f"ipc://{strangers_socket}/gateway.sock")
    with pytest.raises(ControlError, match=f"user {STRANGER} answers there"):
        ask(strangers_socket, "totem", "key", do="install", key=b"secret")


@pytest.mark.root
def test_and_at_each_new_connection(strangers_socket: Path) -> None:
    """A client that finds somebody else where its node was takes it for nobody."""
    trusting = LocalDealer(f"ipc://{strangers_socket}/gateway.sock")
    wary = LocalDealer(f"ipc://{strangers_socket}/gateway.sock", trusts=check_server)
    assert trusting.retry_at_s is None
    assert wary.retry_at_s is not None
    trusting.close()
    wary.close()
