"""The TCP port for clients on other hosts: a relay in front of libzmq that bounds what strangers cost.

libzmq accepts any number of connections, and from each a frame as long as a message may be, before it knows who is
there. So this process owns the port. A connection gets a few seconds and a few kilobytes until the CURVE handshake (RFC
26) is done, which libzmq's READY shows: it is sent only to admitted clients. The handshake passes through unchanged;
the relay knows no key. After it, bytes are relayed both ways, no faster than the receiver takes them.

The number of connections in the handshake is bounded. At the bound, the oldest connection of the address with the most
of them is closed: a stranger displaces only himself.
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
"""Connections in the handshake."""
CONNECTIONS_MAX = 1024
"""Connections after the handshake."""
HANDSHAKE_S = 3.0
HANDSHAKE_BYTES_MAX = 4096
"""What a client may send during the handshake: greeting, HELLO and INITIATE have some 600 bytes."""
CHUNK_BYTES = 64 * 1024
"""How much is read at once, and how much may wait in each direction of a connection."""
ACCEPTED_MAX = 64
EVENTS_MAX = 64
BACKLOG = 128
GREETING_BYTES = 64
DESCRIPTORS = 3 * (UNPROVEN_MAX + CONNECTIONS_MAX)
"""Two for each connection here, and one of libzmq's."""

_READY = b"\x05READY"
_COMMAND, _LONG = 4, 2
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


class Side:
    """One of the two sockets of a connection, and the bytes that wait for room in it."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self.waiting = memoryview(b"")
        self.events = -1
        """The events that it is polled for; -1: it is not registered."""

    def write(self, data: bytes) -> None:
        """Send, and keep the bytes for which there is no room. Raises OSError."""
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
    """A connection: the client's socket and libzmq's."""

    def __init__(self, client: socket.socket, inner: socket.socket, address: str, until_s: float) -> None:
        self.client, self.inner = Side(client), Side(inner)
        self.address = address
        self.until_s = until_s
        self.is_proven = False
        """libzmq has admitted this client."""
        self._said = bytearray()
        """What libzmq has sent during the handshake."""
        self._sent = 0
        """How many bytes the client has sent during the handshake."""

    def sides(self) -> tuple[tuple[Side, Side], tuple[Side, Side]]:
        """Each side with its opposite."""
        return (self.client, self.inner), (self.inner, self.client)

    def serve(self) -> bool:
        """Relay what is there. False if the connection is over; an OSError means the same."""
        for side, other in self.sides():
            other.flush()
            # One side is read only after the other has taken what came before.
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
        """The events to poll each side for."""
        for side, other in self.sides():
            reads = not other.waiting and self._room(side) > 0
            yield side, (_IN if reads else 0) | (_OUT if side.waiting else 0)

    def close(self) -> None:
        """Close both sockets."""
        for side, _ in self.sides():
            side.stream.close()


def _has_ready(said: bytearray) -> bool:
    """True if the commands after libzmq's greeting end with READY."""
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
        """How often which address has reached which bound; the owner clears it."""
        self._inner = str(inner)
        self._poll = select.epoll()
        self._by_descriptor: dict[int, Relay] = {}
        self._unproven: dict[Relay, None] = {}
        """Connections in the handshake, the oldest first."""
        self._unproven_of: Counter[str] = Counter()
        """By address: how many connections in the handshake it has; none is zero."""
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
        """The descriptor to poll. When it is readable, call `serve`."""
        return self._poll.fileno()

    @property
    def totals(self) -> dict[str, int]:
        """Present totals and counters."""
        return {
            "remote_connections": self._proven,
            "remote_unproven": len(self._unproven),
            **{f"remote_{name}": count for name, count in self.counters.items()},
        }

    def serve(self, now_s: float) -> None:
        """Relay what is there, a bounded amount for each connection."""
        for descriptor, events in self._poll.poll(0, EVENTS_MAX):
            relay = self._by_descriptor.get(descriptor)
            if relay is not None:
                if events & (_IN | _OUT):
                    self._serve(relay)
                else:
                    self._close(relay)  # it has hung up: the kernel reports that even if it is not polled for
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
                # No descriptor is left, or libzmq's queue of connections is full.
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
        """Call once a second: end handshakes that take too long."""
        for relay in list(self._unproven):
            if now_s < relay.until_s:
                break
            self._hit("handshake_ended", relay.address)
            self._close(relay)

    def close(self) -> None:
        """Close all sockets."""
        for relay in set(self._by_descriptor.values()):
            relay.close()
        self._by_descriptor.clear()
        with contextlib.suppress(OSError):
            self._listener.close()
        self._poll.close()


def _network_of(address: str) -> str:
    """What counts as one stranger: an IPv4 address, or the network half of an IPv6 address."""
    if ":" not in address:
        return address
    packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    return socket.inet_ntop(socket.AF_INET6, packed[:8] + bytes(8)) + "/64"
