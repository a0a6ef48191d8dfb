"""The sockets that C programs connect to, and the handshake until a connection is made.

The sockets are made here, or were made by root and handed over (rondo.node.c_sockets). A client sends 24 bytes and
waits for the reply without limit. A client that sends nothing is disconnected after a while.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable, Sequence

from rondo.ipc.accepting import SpareDescriptor, peer_of
from rondo.ipc.endpoints import SocketError
from rondo.node import c_sockets
from services.qb_gateway.connection import Connection, Peer, Service
from services.qb_gateway.shared_memory import ConnectionMemory, errno_for_client
from services.qb_gateway.truncation import TruncationGuard
from services.qb_gateway.wire import connecting

ACCEPTED_MAX = 32
HANDSHAKES_MAX = 64
HANDSHAKES_PER_USER_MAX = 16
"""Any user may connect to an abstract socket: a user who is refused must not keep out one who is admitted."""
HANDSHAKE_S = 3.0
CONNECTIONS_MAX = 1024
CONNECTIONS_PER_USER_MAX = 512

log = logging.getLogger("QB_GATEWAY")


class Handshake:
    """A stream whose request is not complete yet."""

    def __init__(self, stream: socket.socket, peer: Peer, service: Service, until_s: float) -> None:
        self.stream = stream
        self.peer = peer
        self.service = service
        self.until_s = until_s
        self.data = b""

    def read(self) -> bool:
        """True if the request is complete. Raises OSError if the stream is over."""
        try:
            data = self.stream.recv(connecting.REQUEST_BYTES - len(self.data))
        except BlockingIOError:
            return False
        if not data:
            raise ConnectionResetError("closed before it asked for anything")
        self.data += data
        return len(self.data) == connecting.REQUEST_BYTES


class Listeners:
    """All listening sockets, and the handshakes under way."""

    def __init__(
        self,
        services: Sequence[Service],
        guard: TruncationGuard,
        prefix: str,
        allows: Callable[[Peer], bool],
        attention: set[Connection],
    ) -> None:
        """Binds; raises `SocketError`, and has bound none then."""
        self.counters = {"accepted": 0, "denied": 0, "not_ready": 0, "refused": 0, "handshakes_failed": 0}
        self.is_ready = False
        """True if connections are made. Otherwise clients are told to try again."""
        self.handshakes: dict[int, Handshake] = {}
        self._guard = guard
        self._prefix = prefix
        self._allows = allows
        self._attention = attention
        self._per_user: dict[int, int] = {}
        self._count = 0
        self.sockets: dict[int, tuple[socket.socket, Service]] = {}
        self._spare = SpareDescriptor()
        try:
            handed = c_sockets.take_over(os.environ)
            for service in services:
                listener = handed.get(service.name) or c_sockets.listen(service.name)
                self.sockets[listener.fileno()] = listener, service
        except SocketError:
            self.close()
            raise

    def accept(self, descriptor: int, now_s: float) -> list[Handshake]:
        """Accept new streams at the listening socket of that descriptor."""
        listener, service = self.sockets[descriptor]
        made: list[Handshake] = []
        for _ in range(ACCEPTED_MAX):
            try:
                stream, _ = listener.accept()
            except OSError as error:
                self.counters["refused"] += self._spare.turn_away(listener, error)
                break
            peer = Peer(*peer_of(stream))
            if not self.has_room_for(peer):
                self.counters["refused"] += 1
                stream.close()
                continue
            stream.setblocking(False)
            handshake = Handshake(stream, peer, service, now_s + HANDSHAKE_S)
            self.handshakes[stream.fileno()] = handshake
            made.append(handshake)
        return made

    def has_room_for(self, peer: Peer) -> bool:
        """True if there is room for this peer. Some is reserved for root. Of users who are not admitted, each may have
        only a few."""
        of_user = sum(each.peer.uid == peer.uid for each in self.handshakes.values())
        if peer.uid in (0, os.geteuid()):
            return of_user < HANDSHAKES_MAX
        others = sum(each.peer.uid not in (0, os.geteuid()) for each in self.handshakes.values())
        return of_user < HANDSHAKES_PER_USER_MAX and others < HANDSHAKES_MAX

    def read(self, handshake: Handshake) -> Connection | None:
        """Read from a stream. Returns the connection once it is made. A stream that is over is closed."""
        try:
            if not handshake.read():
                return None
            if not connecting.is_connect_request(handshake.data):
                raise ConnectionResetError("its first message is no connection request")
            refusal = self._why_not(handshake.peer)
            connection = None if refusal else self._connect(handshake)
        except OSError as error:
            self._drop(handshake, str(error))
            return None
        if connection is None:
            self._refuse(handshake, refusal)
            return None
        del self.handshakes[handshake.stream.fileno()]
        return connection

    def _why_not(self, peer: Peer) -> int:
        """The errno with which this client is refused; 0 if it is not."""
        if not self._allows(peer):
            self.counters["denied"] += 1
            log.warning(
                "access denied to a C program (process %d, user %d, group %d); uidgid{} in corosync.conf says who is "
                "let in", peer.pid, peer.uid, peer.gid,
            )  # fmt: skip
            return errno.EACCES
        if not self.is_ready:
            self.counters["not_ready"] += 1
            return errno.EAGAIN
        if self._count >= CONNECTIONS_MAX or self._per_user.get(peer.uid, 0) >= CONNECTIONS_PER_USER_MAX:
            self.counters["refused"] += 1
            return errno.EMFILE
        return 0

    def _connect(self, handshake: Handshake) -> Connection | None:
        peer, service = handshake.peer, handshake.service
        size = service.message_bytes_max
        try:
            memory = ConnectionMemory(self._guard, self._prefix, service.name, size, (peer.uid, peer.gid))
        except OSError as error:
            log.error("no shared memory for a C program: %s", error.strerror)
            self.counters["refused"] += 1
            self._refuse(handshake, errno_for_client(error))
            raise
        paths = memory.paths
        reply = connecting.accept(size, paths["request"], paths["response"], paths["event"])
        try:
            if handshake.stream.send(reply, socket.MSG_NOSIGNAL) < len(reply):
                raise ConnectionResetError("no room for the reply")
        except OSError:
            memory.close()
            raise
        self.counters["accepted"] += 1
        self._count += 1
        self._per_user[peer.uid] = self._per_user.get(peer.uid, 0) + 1
        return Connection(handshake.stream, peer, service, memory, self._attention)

    def forget(self, connection: Connection) -> None:
        """A connection was closed: there is room for another one."""
        uid = connection.peer.uid
        self._count -= 1
        self._per_user[uid] -= 1
        if not self._per_user[uid]:
            del self._per_user[uid]

    def _refuse(self, handshake: Handshake, error: int) -> None:
        try:
            handshake.stream.send(connecting.refuse(error), socket.MSG_NOSIGNAL)
        except OSError as failed:
            log.debug("a refusal could not be sent: %s", failed)
        self.handshakes.pop(handshake.stream.fileno(), None)
        handshake.stream.close()

    def _drop(self, handshake: Handshake, why: str) -> None:
        if handshake.stream.fileno() >= 0:
            self.counters["handshakes_failed"] += 1
            log.debug("a stream was closed: %s", why)
            del self.handshakes[handshake.stream.fileno()]
            handshake.stream.close()

    def drop_silent(self, now_s: float) -> None:
        """Close streams that have not sent a request in time."""
        for handshake in list(self.handshakes.values()):
            if now_s >= handshake.until_s:
                self._drop(handshake, f"silent for {HANDSHAKE_S:g} s")

    def close(self) -> None:
        """Close everything."""
        self._spare.close()
        for listener, _ in self.sockets.values():
            listener.close()
        for handshake in self.handshakes.values():
            handshake.stream.close()
        self.handshakes.clear()
