"""The gateways that cpg serves, and what waits to be sent to them.

There are two kinds: `ipc_gateway` for Rondo's own clients, `qb_gateway` for C programs. Each has sessions of its own,
told apart by the highest bit of their numbers, and hears of no others. Either may be killed, hung or missing without
the other noticing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from rondo.protocol import cpg_gateway as bus

FRAMES_WAITING_MAX: Final = 8
UNSENT_BYTES_MAX: Final = 512 * 1024
"""While so many envelopes wait for a gateway here, or so many bytes on the way to it, it is behind."""


class Gateways:
    """Who is there, by kind (`rondo.protocol.cpg_gateway.GatewayKind`)."""

    def __init__(self) -> None:
        self.frames: deque[tuple[bytes, bytes]] = deque()
        """(identity, envelope) of what waits."""
        self.unsent_bytes: Callable[[bytes], int] = lambda _: 0
        """How much was sent to a gateway and not read by it."""
        self._identities: dict[int, bytes] = {}

    @property
    def kinds(self) -> list[int]:
        """The kinds that have said hello."""
        return list(self._identities)

    def is_congested(self, session: int) -> bool:
        """Whether so much waits for the gateway that has this session that others would wait behind more of it."""
        identity = self._identities.get(session >> bus.KIND_SHIFT)
        if identity is None:
            return False
        waiting = sum(1 for frame in self.frames if frame[0] == identity) if self.frames else 0
        return waiting >= FRAMES_WAITING_MAX or self.unsent_bytes(identity) >= UNSENT_BYTES_MAX

    def arrive(self, kind: int, identity: bytes) -> None:
        """A gateway says hello. What its predecessor was to be told is dropped."""
        before = self._identities.get(kind)
        kept = [frame for frame in self.frames if frame[0] != before]
        self.frames.clear()
        self.frames.extend(kept)
        self._identities[kind] = identity

    def kind_of(self, identity: bytes) -> int | None:
        """Which one this is; None if it has not said hello, or another one has taken its place."""
        for kind, each in self._identities.items():
            if each == identity:
                return kind
        return None

    def answer(self, identity: bytes, envelope: bus.Envelope) -> None:
        """An envelope for whoever it is."""
        self.frames.append((identity, bus.encode(envelope)))

    def tell(self, kind: int, envelope: bus.Envelope) -> None:
        """An envelope for a gateway; nothing happens if there is none of that kind."""
        identity = self._identities.get(kind)
        if identity is not None:
            self.frames.append((identity, bus.encode(envelope)))

    def tell_rows(self, rows: list[Any], envelope: Callable[[list[Any]], bus.Envelope]) -> None:
        """Rows that begin with the number of a session: each goes to the gateway that has the session."""
        for kind, identity in self._identities.items():
            own = [row for row in rows if row[0] >> bus.KIND_SHIFT == kind]
            if own:
                self.frames.append((identity, bus.encode(envelope(own))))

    def send(self, send: Callable[[bytes, bytes, bool], bool]) -> bool:
        """Hand what waits to `send(identity, envelope, more)`, which says False where there is no room; `more`: the
        next one is for the same. Whether something still waits: one gateway without room does not hold up the other."""
        frames = self.frames
        left: list[tuple[bytes, bytes]] = []
        while frames:
            identity, frame = frames.popleft()
            more = bool(frames) and frames[0][0] == identity
            if not send(identity, frame, more):
                left.append((identity, frame))
                left.extend(each for each in frames if each[0] == identity)
                others = [each for each in frames if each[0] != identity]
                frames.clear()
                frames.extend(others)
        frames.extend(left)
        return bool(left)


def kinds_of(sessions: Iterable[int]) -> set[int]:
    """The kinds of gateways that have these sessions."""
    return {session >> bus.KIND_SHIFT for session in sessions}
