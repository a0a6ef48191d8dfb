"""The TCP port for clients on other hosts: a relay that hands on to libzmq, and bounds what strangers cost before that.

libzmq takes any number of connections, and from each a frame as long as a message may be, before it knows who is there.
So the port is this process's own. A connection gets a few seconds, and a few kilobytes, until the handshake of CURVE
(RFC 26) is done, which is when libzmq says READY: it does so only to whom it has let in. The handshake itself passes
through unchanged; nothing here knows a key. From then on bytes are handed on both ways, no faster than they are taken.

Those that have not shown their key are bounded in number. Where there are too many, the oldest one of the address
that has most of them makes room: a stranger displaces himself.
"""

import contextlib
import select
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rondo.config.node import RemoteSettings
from rondo.ipc.endpoints import SocketError

UNPROVEN_MAX = 128
"""Connections whose handshake is not done."""
CONNECTIONS_MAX = 1024
"""Those whose handshake is done."""
HANDSHAKE_S = 3.0
HANDSHAKE_BYTES_MAX = 4096
"""Until then a client may send so much: greeting, HELLO and INITIATE have some 600 bytes."""
CHUNK_BYTES = 64 * 1024
"""Read at once; and what may wait in each direction of a connection."""
ACCEPTED_MAX = 64
EVENTS_MAX = 64
BACKLOG = 128
GREETING_BYTES = 64
DESCRIPTORS = 3 * (UNPROVEN_MAX + CONNECTIONS_MAX)
"""Two for each connection here, and libzmq's."""

_READY = b"\x05READY"
_COMMAND, _LONG = 4, 2
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


class Side:
    """One of the two sockets of a connection, and what waits for it to have room."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self.waiting = memoryview(b"")
        self.events = -1
        """What it is polled for; -1: not at all."""

    def write(self, data: bytes) -> None:
        """Send, and keep what there is no room for. Raises OSError."""
        self.waiting = memoryview(data)
        self.flush()

    def flush(self) -> None:
        """Send what waits. Raises OSError."""
        while self.waiting:
            try:
                self.waiting = self.waiting[self.stream.send(self.waiting, socket.MSG_NOSIGNAL) :]
            except BlockingIOError:
                return


class Relay:
    """A connection: the client's side and libzmq's."""

    def __init__(self, client: socket.socket, inner: socket.socket, address: str, until_s: float) -> None:
        self.client, self.inner = Side(client), Side(inner)
        self.address = address
        self.until_s = until_s
        self.is_proven = False
        """libzmq has let this client in."""
        self._said = bytearray()
        """What libzmq has said, until then."""
        self._sent = 0
        """Bytes of the client until then."""

    def sides(self) -> tuple[tuple[Side, Side], tuple[Side, Side]]:
        """Each side with the other."""
        return (self.client, self.inner), (self.inner, self.client)

    def serve(self) -> bool:
        """Hand on what there is; False if the connection is over. Raises OSError, which says the same."""
        for side, other in self.sides():
            other.flush()
            # What comes from the one waits for the other, which has to have taken what came before.
            if not other.waiting and (room := self._room(side)):
                try:
                    data = side.stream.recv(room)
                except BlockingIOError:
                    continue
                if not data:
                    return False
                self._note(side, data)
                other.write(data)
        return True

    def _room(self, side: Side) -> int:
        """How much may be read from a side."""
        return CHUNK_BYTES if self.is_proven or side is self.inner else HANDSHAKE_BYTES_MAX - self._sent

    def _note(self, side: Side, data: bytes) -> None:
        if self.is_proven:
            return
        if side is self.client:
            self._sent += len(data)
        else:
            self._said += data
            self.is_proven = _has_ready(self._said)

    def events(self) -> Iterator[tuple[Side, int]]:
        """What to poll each side for."""
        for side, other in self.sides():
            reads = not other.waiting and self._room(side) > 0
            yield side, (_IN if reads else 0) | (_OUT if side.waiting else 0)

    def close(self) -> None:
        """Close both."""
        for side, _ in self.sides():
            side.stream.close()


def _has_ready(said: bytearray) -> bool:
    """Whether the commands after libzmq's greeting end with READY."""
    at = GREETING_BYTES
    while at + 2 <= len(said):
        flags, size, begin = said[at], said[at + 1], at + 2
        if flags & _LONG:
            if at + 9 > len(said):
                return False
            size, begin = int.from_bytes(said[at + 1 : at + 9]), at + 9
        if flags & _COMMAND and said[begin : begin + len(_READY)] == _READY:
            return True
        at = begin + size
    return False


class TcpRelay:
    """The port with all its connections."""

    def __init__(self, settings: RemoteSettings, inner: Path) -> None:
        """Listens where the settings say; `inner` is the socket that libzmq has bound. Raises SocketError."""
        self.counters: Counter[str] = Counter()
        self.hits: Counter[tuple[str, str]] = Counter()
        """How often which address has reached which bound, since somebody last emptied it."""
        self._inner = str(inner)
        self._poll = select.epoll()
        self._by_descriptor: dict[int, Relay] = {}
        self._unproven: dict[Relay, None] = {}
        """The oldest first."""
        self._unproven_of: Counter[str] = Counter()
        """How many of them each address has; none is zero."""
        self._proven = 0
        family = socket.AF_INET6 if ":" in settings.address else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind((settings.address, settings.port))
            self._listener.listen(BACKLOG)
        except OSError as error:
            self._listener.close()
            self._poll.close()
            where = f"{settings.address}, port {settings.port}"
            raise SocketError(f"{where}: cannot be bound: {error.strerror or error}") from None
        self._poll.register(self._listener, _IN)

    def fileno(self) -> int:
        """What to poll; readable means: `serve`."""
        return self._poll.fileno()

    @property
    def totals(self) -> dict[str, int]:
        """What there is now, and what happened."""
        return {
            "remote_connections": self._proven,
            "remote_unproven": len(self._unproven),
            **{f"remote_{name}": count for name, count in self.counters.items()},
        }

    def serve(self, now_s: float) -> None:
        """Hand on what there is, some of each."""
        for descriptor, events in self._poll.poll(0, EVENTS_MAX):
            relay = self._by_descriptor.get(descriptor)
            if relay is not None:
                if events & (_IN | _OUT):
                    self._serve(relay)
                else:
                    self._close(relay)  # it has hung up while it was not to be read: that is told of all the same
            elif descriptor == self._listener.fileno():
                self._accept(now_s)

    def _serve(self, relay: Relay) -> None:
        was_proven = relay.is_proven
        try:
            goes_on = relay.serve()
        except OSError:
            goes_on = False
        if relay.is_proven and not was_proven:
            self._forget_unproven(relay)
            self._proven += 1
            if self._proven > CONNECTIONS_MAX:
                self._hit("refused", relay.address)
                goes_on = False
        if goes_on:
            self._watch(relay)
        else:
            self._close(relay)

    def _watch(self, relay: Relay) -> None:
        for side, events in relay.events():
            if events != side.events:
                if side.events < 0:
                    self._poll.register(side.stream, events)
                else:
                    self._poll.modify(side.stream, events)
                side.events = events

    def _accept(self, now_s: float) -> None:
        for _ in range(ACCEPTED_MAX):
            try:
                client, address = self._listener.accept()
            except OSError:
                return
            inner = None
            try:
                inner = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
                client.setblocking(False)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                inner.connect(self._inner)
            except OSError:
                # No descriptor is left, or libzmq has not come round yet.
                client.close()
                if inner is not None:
                    inner.close()
                self.counters["not_handed_on"] += 1
                continue
            self._add(Relay(client, inner, _network_of(address[0]), now_s + HANDSHAKE_S))

    def _add(self, relay: Relay) -> None:
        self._unproven[relay] = None
        self._unproven_of[relay.address] += 1
        for side, _ in relay.sides():
            self._by_descriptor[side.stream.fileno()] = relay
        self._watch(relay)
        if len(self._unproven) > UNPROVEN_MAX:
            address = max(self._unproven_of, key=self._unproven_of.__getitem__)
            oldest = next(each for each in self._unproven if each.address == address)
            self._hit("displaced", address)
            self._close(oldest)

    def _forget_unproven(self, relay: Relay) -> None:
        if self._unproven.pop(relay, self) is not self:
            self._unproven_of[relay.address] -= 1
            if not self._unproven_of[relay.address]:
                del self._unproven_of[relay.address]

    def _close(self, relay: Relay) -> None:
        self._forget_unproven(relay)
        if relay.is_proven:
            self._proven -= 1
        for side, _ in relay.sides():
            del self._by_descriptor[side.stream.fileno()]
        relay.close()

    def _hit(self, bound: str, address: str) -> None:
        self.counters[bound] += 1
        if len(self.hits) < EVENTS_MAX:
            self.hits["remote_" + bound, address] += 1

    def tend(self, now_s: float) -> None:
        """Once a second: end the handshakes that take too long."""
        for relay in list(self._unproven):
            if now_s < relay.until_s:
                break
            self._hit("handshake_ended", relay.address)
            self._close(relay)

    def close(self) -> None:
        """Close everything."""
        for relay in set(self._by_descriptor.values()):
            relay.close()
        self._by_descriptor.clear()
        with contextlib.suppress(OSError):
            self._listener.close()
        self._poll.close()


def _network_of(address: str) -> str:
    """What counts as one stranger: an address, or the half of an IPv6 one that names a network."""
    if ":" not in address:
        return address
    packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    return socket.inet_ntop(socket.AF_INET6, packed[:8] + bytes(8)) + "/64"
