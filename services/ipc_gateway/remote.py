"""Clients on other hosts: over TCP with CURVE (RFC 26), where remote{} of corosync.conf says so.

Such a client is known by its public key, which must stand in the file of the clients that may connect; it in turn knows
this node's. libzmq ends a connection without the right keys in the handshake: nothing that it says is read, and it
hears nothing. A remote client is no user and no process of this machine. As a member of groups it has a number above
all process ids; what it may not do for that reason, other services see from its user, which is nobody's (REMOTE_UID).

No kernel vouches for its life. A process that dies ends its connection; a machine that is gone shows by ZeroMQ's
heartbeats. Either way the session waits for a short time, because a network may break a connection too.
"""

import logging
import os
import secrets
from pathlib import Path

import zmq

from rondo import curve
from rondo.config.key import KeyFileError
from rondo.config.node import RemoteSettings
from rondo.ipc.endpoints import SocketError

ZAP_DOMAIN = b"rondo-remote"
REMOTE_PID_FIRST = 1 << 30
"""Above every process id (2**22 at most), and positive for those who take 32 bits as signed."""
HEARTBEAT_MS = 1000
HEARTBEAT_TIMEOUT_MS = 5000
HANDSHAKE_MS = 3000
"""A stranger who says nothing is not kept for longer."""
BACKLOG = 128

log = logging.getLogger("IPC_GATEWAY")


def remote_pid() -> int:
    """A number for a remote client to be known by in groups."""
    return REMOTE_PID_FIRST + secrets.randbelow(REMOTE_PID_FIRST)


def short(public_key: bytes) -> int:
    """The beginning of a public key as a number, by which sessions are told apart; shown as 16 hexadecimal digits."""
    return int.from_bytes(public_key[:8])


def endpoint_of(settings: RemoteSettings) -> str:
    """Where remote clients connect."""
    address = f"[{settings.address}]" if ":" in settings.address else settings.address
    return f"tcp://{address}:{settings.port}"


class RemoteClients:
    """Who may connect from other hosts. The file is read again when it has changed."""

    def __init__(self, path: Path) -> None:
        """Raises KeyFileError."""
        self._path = path
        self._version = self._look()
        self._clients = curve.read_clients(path)

    def _look(self) -> tuple[int, int, int]:
        try:
            found = os.stat(self._path)
        except OSError:
            return (0, 0, 0)
        return (found.st_mtime_ns, found.st_size, found.st_ino)

    def allows(self, public_key: bytes) -> bool:
        """Whether the owner of this key may."""
        version = self._look()
        if version != self._version:
            self._version = version
            try:
                self._clients = curve.read_clients(self._path)
            except KeyFileError as error:
                log.error("%s; until then no remote client is let in", error)
                self._clients = {}
        return public_key in self._clients


def prepare(socket: "zmq.Socket[bytes]", settings: RemoteSettings) -> None:
    """Make a socket, not bound yet, one for remote clients. Raises KeyFileError, SocketError."""
    pair = curve.read_key_pair(Path(settings.key_file))
    try:
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret)
    except zmq.ZMQError as error:
        raise SocketError(f"the installed ZeroMQ has no CURVE, which remote{{}} needs: {error.strerror}") from None
    socket.setsockopt(zmq.IPV6, int(":" in settings.address))
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.BACKLOG, BACKLOG)
