"""Somebody on the network of a ring without packet security who knows everything: the ring, its numbers, its members.

What it sends is well-formed and bears the name of a member: it has the sequence numbers that the victim expects as
often as others. `strike` makes one such datagram of one kind for one victim, `flood` many of all kinds for all.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from services.totem.wire.base import U32_MASK, RingId
from services.totem.wire.frames import (
    ENCAPSULATED,
    RTR_ENTRIES_MAX,
    Commit,
    CommitEntry,
    HoldCancel,
    Join,
    Merge,
    Token,
    encode_commit,
    encode_hold_cancel,
    encode_join,
    encode_mcast,
    encode_merge,
    encode_token,
)
from services.totem.wire.packets import EXECUTIVE_PREFIX, SYNC_PREFIX, encode_packet
from services.totem.wire.syncmsg import Barrier, ServiceBuild, encode_barrier, encode_service_build
from tests.simulation.world import MS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.world import World

PIECE_MAX = 1400
JUMPS = (-40, -3, -2, -1, 0, 1, 2, 3, 10, 100, 5000, 16000, 16384, 17000, 1 << 31, U32_MASK)
"""How far a forged number is from the true one."""
COUNTS = (0, 0, 0, 1, 49, 50, 51, 5000, 1 << 31, U32_MASK)
"""What a forged token says of backlog and flow control."""


class Forger:
    """Forges for a world. `kinds` names the kinds of forgeries that it knows; all if none is given."""

    def __init__(self, world: World, seed: int | str, kinds: tuple[str, ...] = ()) -> None:
        self.world = world
        self.names = sorted(set(world.hosts).union(*(host.options.members or () for host in world.hosts.values())))
        self.random = Random(f"forger {seed}")
        self.sent = 0
        self._makers: dict[str, Callable[[int], bytes]] = {
            "token": self._token, "mcast": self._mcast, "fragment": self._fragment, "wrapped": self._wrapped,
            "sync": self._sync, "join": self._join, "leave": self._leave, "commit": self._commit,
            "merge": self._merge, "hold_cancel": self._hold_cancel,
        }  # fmt: skip
        self.kinds = kinds or tuple(self._makers)

    def flood(self, duration_ms: float, per_ms: float) -> None:
        """Forge from now on for so long: that many datagrams in each millisecond of virtual time, to random nodes."""
        until_ns = self.world.now() + int(duration_ms * MS)

        def strike() -> None:
            if self.world.now() >= until_ns:
                return
            for victim in self.random.sample(list(self.world.hosts), self.random.choice((1, len(self.world.hosts)))):
                self.strike(victim, self.random.choice(self.kinds))
            self.world.call_at(self.world.now() + int(self.random.uniform(0.1, 1.9) / per_ms * MS), strike)

        strike()

    def strike(self, victim: int, kind: str) -> None:
        """One forged datagram of this kind reaches a node."""
        host = self.world.hosts[victim]
        if host.ring is not None:
            self.sent += 1
            host.arrive(self._makers[kind](victim))

    # -- what it knows

    def _name(self) -> int:
        return self.random.choice(self.names)

    def _ring(self, victim: int) -> RingId:
        """The ring of the victim, most of the time; else one that is near, or the ring that it is leaving."""
        s = self.world.hosts[victim].ring._s  # type: ignore[union-attr]
        near = RingId(s.ring_id.representative, s.ring_id.sequence + self.random.choice((-4, 4, 8)))
        return self.random.choice((s.ring_id, s.ring_id, s.ring_id, s.ring_id, s.old_ring_id, near))

    def _near(self, number: int) -> int:
        return (number + self.random.choice(JUMPS)) & U32_MASK

    def _numbers(self, victim: int) -> tuple[int, int, int]:
        """(token_seq that the victim expects, highest mcast, aru)."""
        s = self.world.hosts[victim].ring._s  # type: ignore[union-attr]
        store = s.recovery or s.regular
        return s.token_seq + max(1, len(s.new_members)), store.high, store.aru

    def _some(self) -> tuple[int, ...]:
        """Members, in any number, ascending."""
        nodes = self.names
        return tuple(sorted(self.random.sample(nodes, self.random.randint(0, len(nodes)))))

    # -- what it makes of that

    def _token(self, victim: int) -> bytes:
        s = self.world.hosts[victim].ring._s  # type: ignore[union-attr]
        token_seq, seq, aru = self._numbers(victim)
        draw = self.random
        order = s.new_members
        before = order[order.index(victim) - 1] if victim in order else self._name()
        ring = self._ring(victim)
        rtr = [(ring, self._near(aru)) for _ in range(draw.choice((0, 0, 1, RTR_ENTRIES_MAX)))]
        return encode_token(
            Token(
                draw.choice((before, before, before, self._name())),
                draw.choice((seq & U32_MASK, self._near(seq))),
                draw.choice((token_seq & U32_MASK, token_seq & U32_MASK, self._near(token_seq))),
                draw.choice((aru & U32_MASK, self._near(aru))),
                draw.choice((0, self._name(), 99)),
                ring,
                backlog=draw.choice(COUNTS),
                fcc=draw.choice(COUNTS),
                retrans_flg=draw.choice((0, 1)),
                rtr=rtr,
            )
        )

    def _frame(self, victim: int, payload: bytes, **options: int) -> bytes:
        _, seq, aru = self._numbers(victim)
        number = self._near(self.random.choice((seq, aru)))
        return encode_mcast(self._name(), number, self.random.randrange(99), self._ring(victim), payload, **options)

    def _mcast(self, victim: int) -> bytes:
        piece = EXECUTIVE_PREFIX + self.random.randbytes(self.random.choice((0, 16, 200)))
        return self._frame(victim, self.random.choice((encode_packet(0, 0, [piece]), self.random.randbytes(40), b"")))

    def _fragment(self, victim: int) -> bytes:
        """A part of a chain, or many of them in one packet: together more than a message may have."""
        draw = self.random
        pieces = [draw.choice((bytes(PIECE_MAX), bytes(60000), b""))] * draw.choice((1, 1, 3))
        numbers = (0, 1, 1, 2, 3, 255)
        return self._frame(victim, encode_packet(draw.choice(numbers), draw.choice(numbers), pieces))

    def _wrapped(self, victim: int) -> bytes:
        s = self.world.hosts[victim].ring._s  # type: ignore[union-attr]
        packet = encode_packet(0, 0, [EXECUTIVE_PREFIX + b"of the old ring"])
        inner = encode_mcast(self._name(), self._near(s.regular.high), 1, s.old_ring_id, packet)
        return self._frame(victim, self.random.choice((inner, inner[:20], b"")), encapsulated=ENCAPSULATED)

    def _sync(self, victim: int) -> bytes:
        draw = self.random
        ring = self._ring(victim)
        build = ServiceBuild(ring, draw.choice(((), (0, 2), (0, 2, 3, 5), tuple(range(100, 228)), (-1, 2**31 - 1))))
        message = draw.choice((encode_barrier(Barrier(ring)), encode_service_build(build)))
        return self._frame(victim, encode_packet(0, 0, [SYNC_PREFIX + message] * draw.choice((1, 2))))

    def _join(self, victim: int) -> bytes:
        s = self.world.hosts[victim].ring._s  # type: ignore[union-attr]
        sender = self._name()
        draw = self.random
        failed = draw.choice(((), (), self._some(), tuple(n for n in self._some() if n != sender)))
        sequence = max(0, s.highest_ring_sequence + draw.choice((-4, 0, 0, 0, 4, 1 << 20, 1 << 39, 1 << 63)))
        proc = tuple(sorted({sender, *self._some()}))
        return encode_join(Join(sender, sender, proc, failed, min(sequence, 2**64 - 1)))

    def _leave(self, victim: int) -> bytes:
        s = self.world.hosts[victim].ring._s  # type: ignore[union-attr]
        sender = self._name()
        others = tuple(n for n in self._some() if n != sender)
        failed = (*self.random.choice(((), others)), sender)
        return encode_join(Join(0, sender, others, failed, s.ring_id.sequence))

    def _commit(self, victim: int) -> bytes:
        s = self.world.hosts[victim].ring._s  # type: ignore[union-attr]
        draw = self.random
        addrs = draw.choice((tuple(sorted(s.proc - s.failed)), s.new_members, self._some())) or (victim,)
        index = draw.choice((addrs.index(victim) if victim in addrs else 0, len(addrs), draw.randint(0, len(addrs))))
        sequence = s.highest_ring_sequence + draw.choice((-4, 0, 4, 8, 1 << 39))
        ring = draw.choice((s.ring_id, RingId(addrs[0], max(0, sequence))))
        entries = [
            CommitEntry(s.old_ring_id, self._near(s.regular.aru), self._near(s.regular.aru), draw.choice((0, 1)))
            for _ in addrs
        ]
        return encode_commit(Commit(self._name(), draw.choice((0, 1, 5)), ring, addrs, entries, memb_index=index))

    def _merge(self, victim: int) -> bytes:
        name = self._name()
        return encode_merge(Merge(name, name, self._ring(victim)))

    def _hold_cancel(self, victim: int) -> bytes:
        return encode_hold_cancel(HoldCancel(self._name(), self._ring(victim)))
