"""A forger on the network of a ring without packet security. He knows the ring, its sequence numbers and its members.

His packets are well-formed and name a member as their sender. Their sequence numbers are often those that the victim
expects, and often others. `Forger.forge` makes one such datagram for one victim, from what is known of that node.
"""

from __future__ import annotations

from dataclasses import dataclass
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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random

    from services.totem.ring.ring import Ring

PIECE_MAX = 1400
JUMPS = (-40, -3, -2, -1, 0, 1, 2, 3, 10, 100, 5000, 16000, 16384, 17000, 1 << 31, U32_MASK)
"""How far a forged number is from the true one."""
COUNTS = (0, 0, 0, 1, 49, 50, 51, 5000, 1 << 31, U32_MASK)
"""What a forged token says of backlog and flow control count."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the forger knows of one node. Packet and token numbers may have 32 bits, as on the wire, or more: only their
    lower 32 bits are used."""

    ring: RingId
    """The ring of the membership protocol. While a ring is being formed, it is that one."""
    old_ring: RingId
    """The installed ring."""
    order: tuple[int, ...]
    """The members of `ring`, in the order of its token."""
    token_seq: int
    """The token_seq that the node expects next."""
    high: int
    aru: int
    old_high: int
    """The highest sequence number of the installed ring. `high` and `aru` are those of `ring`."""
    highest_ring_sequence: int
    agreeing: tuple[int, ...]
    """The members that a commit token must have for the node to take it."""


def of_ring(ring: Ring) -> Knowledge:
    """All knowledge of a node, read from its ring in this process."""
    s = ring.parts
    store = s.recovery.store or s.delivery.regular
    token_seq = s.rotation.token_seq + max(1, len(s.membership.new_members))
    agreeing = tuple(sorted(s.consensus.proc - s.consensus.failed))
    return Knowledge(
        s.membership.ring_id, s.membership.old_ring_id, s.membership.new_members, token_seq, store.high, store.aru,
        s.delivery.regular.high, s.sequences.highest, agreeing,
    )  # fmt: skip


class Forger:
    """Makes forgeries in the names of `names`. `kinds` limits them to these kinds. Empty: all kinds."""

    def __init__(self, names: Iterable[int], random: Random, kinds: tuple[str, ...] = ()) -> None:
        self.names = sorted(names)
        self.random = random
        self._makers: dict[str, Callable[[int, Knowledge], bytes]] = {
            "token": self._token, "mcast": self._mcast, "fragment": self._fragment, "wrapped": self._wrapped,
            "sync": self._sync, "join": self._join, "leave": self._leave, "commit": self._commit,
            "merge": self._merge, "hold_cancel": self._hold_cancel,
        }  # fmt: skip
        self.kinds = kinds or tuple(self._makers)

    def forge(self, victim: int, known: Knowledge, kind: str | None = None) -> bytes:
        """A datagram for this victim. Its kind is random if none is given."""
        return self._makers[kind or self.random.choice(self.kinds)](victim, known)

    def _name(self) -> int:
        return self.random.choice(self.names)

    def _ring(self, known: Knowledge) -> RingId:
        """Mostly the ring of the victim. Else the ring that the victim is leaving, or one with a similar sequence."""
        near = RingId(known.ring.representative, max(0, known.ring.sequence + self.random.choice((-4, 4, 8))))
        return self.random.choice((known.ring, known.ring, known.ring, known.ring, known.old_ring, near))

    def _near(self, number: int) -> int:
        return (number + self.random.choice(JUMPS)) & U32_MASK

    def _some(self) -> tuple[int, ...]:
        """Any number of members, in ascending order."""
        return tuple(sorted(self.random.sample(self.names, self.random.randint(0, len(self.names)))))

    def _token(self, victim: int, known: Knowledge) -> bytes:
        draw = self.random
        order, token_seq, seq, aru = known.order, known.token_seq, known.high, known.aru
        before = order[order.index(victim) - 1] if victim in order else self._name()
        ring = self._ring(known)
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

    def _frame(self, known: Knowledge, payload: bytes, **options: int) -> bytes:
        number = self._near(self.random.choice((known.high, known.aru)))
        return encode_mcast(self._name(), number, self.random.randrange(99), self._ring(known), payload, **options)

    def _mcast(self, victim: int, known: Knowledge) -> bytes:
        piece = EXECUTIVE_PREFIX + self.random.randbytes(self.random.choice((0, 16, 200)))
        return self._frame(known, self.random.choice((encode_packet(0, 0, [piece]), self.random.randbytes(40), b"")))

    def _fragment(self, victim: int, known: Knowledge) -> bytes:
        """A fragment of a message, or several in one packet. Together they may exceed the largest message."""
        draw = self.random
        pieces = [draw.choice((bytes(PIECE_MAX), bytes(60000), b""))] * draw.choice((1, 1, 3))
        numbers = (0, 1, 1, 2, 3, 255)
        return self._frame(known, encode_packet(draw.choice(numbers), draw.choice(numbers), pieces))

    def _wrapped(self, victim: int, known: Knowledge) -> bytes:
        packet = encode_packet(0, 0, [EXECUTIVE_PREFIX + b"of the old ring"])
        inner = encode_mcast(self._name(), self._near(known.old_high), 1, known.old_ring, packet)
        return self._frame(known, self.random.choice((inner, inner[:20], b"")), encapsulated=ENCAPSULATED)

    def _sync(self, victim: int, known: Knowledge) -> bytes:
        draw = self.random
        ring = self._ring(known)
        build = ServiceBuild(ring, draw.choice(((), (0, 2), (0, 2, 3, 5), tuple(range(100, 228)), (-1, 2**31 - 1))))
        message = draw.choice((encode_barrier(Barrier(ring)), encode_service_build(build)))
        return self._frame(known, encode_packet(0, 0, [SYNC_PREFIX + message] * draw.choice((1, 2))))

    def _join(self, victim: int, known: Knowledge) -> bytes:
        sender = self._name()
        draw = self.random
        failed = draw.choice(((), (), self._some(), tuple(n for n in self._some() if n != sender)))
        sequence = max(
            0, known.highest_ring_sequence + draw.choice((-4, 0, 0, 0, 4, 1 << 20, 1 << 39, 1 << 62, 1 << 63))
        )
        proc = tuple(sorted({sender, *self._some()}))
        return encode_join(Join(sender, sender, proc, failed, min(sequence, 2**64 - 1)))

    def _leave(self, victim: int, known: Knowledge) -> bytes:
        sender = self._name()
        others = tuple(n for n in self._some() if n != sender)
        failed = (*self.random.choice(((), others)), sender)
        return encode_join(Join(0, sender, others, failed, known.ring.sequence))

    def _commit(self, victim: int, known: Knowledge) -> bytes:
        draw = self.random
        addrs = draw.choice((known.agreeing, known.order, self._some())) or (victim,)
        index = draw.choice((addrs.index(victim) if victim in addrs else 0, len(addrs), draw.randint(0, len(addrs))))
        sequence = known.highest_ring_sequence + draw.choice((-4, 0, 4, 8, 1 << 39))
        ring = draw.choice((known.ring, RingId(addrs[0], max(0, sequence))))
        entries = [
            CommitEntry(known.old_ring, self._near(known.aru), self._near(known.aru), draw.choice((0, 1)))
            for _ in addrs
        ]
        return encode_commit(Commit(self._name(), draw.choice((0, 1, 5)), ring, addrs, entries, memb_index=index))

    def _merge(self, victim: int, known: Knowledge) -> bytes:
        name = self._name()
        return encode_merge(Merge(name, name, self._ring(known)))

    def _hold_cancel(self, victim: int, known: Knowledge) -> bytes:
        return encode_hold_cancel(HoldCancel(self._name(), self._ring(known)))
