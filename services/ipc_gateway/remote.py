"""Clients on other hosts: over TCP with CURVE (RFC 26), if remote{} of corosync.conf allows them.

Such a client is known by its public key, which must be in the file of admitted clients; the client in turn knows this
node's key. Without the right keys libzmq ends the connection in the handshake: nothing that it sends is read, and
nothing is sent to it. A remote client is no user and no process of this machine. As a member of groups it has a number
above all process ids. Other services recognise it by its user REMOTE_UID, and restrict what it may do.

The kernel cannot tell whether it lives. A process that dies ends its connection; a machine that is gone is detected by
ZeroMQ's heartbeats. Either way the session waits for a short time, because a network may break a connection, too.
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
"""Above every process id (2**22 at most), and positive as a signed 32-bit number."""
HEARTBEAT_MS = 1000
HEARTBEAT_TIMEOUT_MS = 5000
HANDSHAKE_MS = 3000
"""A connection that has not finished its handshake by then is closed."""
BACKLOG = 128

log = logging.getLogger("IPC_GATEWAY")


def remote_pid() -> int:
    """A number that stands for the process id of a remote client."""
    return REMOTE_PID_FIRST + secrets.randbelow(REMOTE_PID_FIRST)


def short(public_key: bytes) -> int:
    """The beginning of a public key as a number, which tells sessions apart; shown as 16 hexadecimal digits."""
    return int.from_bytes(public_key[:8])


def endpoint_of(settings: RemoteSettings) -> str:
    """Where remote clients connect."""
    address = f"[{settings.address}]" if ":" in settings.address else settings.address
    return f"tcp://{address}:{settings.port}"


class RemoteClients:
    """The clients that may connect from other hosts. The file is read again when it has changed."""

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
        """True if the owner of this key may connect."""
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
    """Prepare a socket for remote clients before it is bound. Raises KeyFileError, SocketError."""
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
