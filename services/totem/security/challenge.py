"""Challenges: asks a sender whether it is running now with the boot that its packets name.

A boot is one run of a node. A packet under an unknown boot may be a recording: it only proves that the sender once had
the key. So the receiver sends a challenge with a nonce of its own to the sender's address: which boot are you now? Only
a node that has the key and gets the challenge now can answer. It seals the answer under its boot, and so proves it. A
recorded answer has another nonce. A recorded packet causes a challenge whose answer changes nothing. The challenge
names no boot, so a flood of recordings cannot push the genuine boot aside.

The answer proves the boot for packets after it. Earlier packets are accepted only if they cannot be recordings:

* The receiver knew an earlier boot of the sender. Then the new boot began while the receiver was running, and every
  packet under it is accepted, once. So packets that come while the challenge is open are kept, and handed in when the
  answer confirms them. A restarted node loses no time.
* The receiver knew no boot, because it has just started itself. The sender may have sealed packets under this boot
  before the receiver started, and somebody may have recorded them. So everything up to the answer's counter is refused.

A node that is challenged by an unknown sender challenges back first and then answers, so both know each other at once.

Bounds limit both the kept packets and the number of challenges.
"""

from __future__ import annotations

from typing import NamedTuple

from services.totem.security.allowance import Allowance

ASK_INTERVAL_NS = 20_000_000
"""Shortest time between challenges to one sender. Another one is sent only if more packets under an unknown boot
come."""

LIFETIME_NS = 5_000_000_000
"""An answer that took longer is refused."""

QUIET_NS = 1_000_000_000
"""A challenge that is open for longer is logged: the sender's address may be wrong."""

HELD_PER_SENDER = 64
HELD_BYTES_MAX = 1 << 20
"""Bounds of the kept packets: number per sender, bytes of all."""


ANSWER_INTERVAL_NS = 10_000_000
"""Shortest time between answers to the same challenge, if its sender's boot is unknown: it may be a recording."""

ANSWERS_PER_SECOND, ANSWERS_BURST = 200, 50
"""Bounds of answers to one sender under unknown boots."""
ANSWERED_MAX = 64
"""Bound of the challenges that are remembered per sender."""


class Held(NamedTuple):
    """An authentic packet under a boot that is not confirmed."""

    boot: bytes
    counter: int
    frame: bytes
    source: str


class Question:
    """One open challenge to one sender, and the packets that wait for its answer."""

    __slots__ = ("held", "held_bytes", "nonce", "since_ns")

    def __init__(self, nonce: bytes, now_ns: int) -> None:
        self.nonce = nonce
        self.since_ns = now_ns
        self.held: list[Held] = []
        self.held_bytes = 0

    def expired(self, now_ns: int) -> bool:
        """Whether it is too late for an answer."""
        return now_ns - self.since_ns >= LIFETIME_NS

    def hold(self, packet: Held, bytes_left: int) -> bool:
        """Keep a packet until the answer, if the bounds allow it. `bytes_left`: what the bound over all senders still
        allows."""
        if len(self.held) >= HELD_PER_SENDER or len(packet.frame) > bytes_left:
            return False
        self.held.append(packet)
        self.held_bytes += len(packet.frame)
        return True


class Answers:
    """When to answer the challenges of one sender under unconfirmed boots.

    Whoever replays recorded challenges gets an answer now and then. It is as long as the challenge, and goes to the
    sender's configured address. A genuine challenge differs from all earlier ones, so recordings do not stand in its
    way.
    """

    __slots__ = ("_allowance", "_answered")

    def __init__(self) -> None:
        self._allowance = Allowance(ANSWERS_PER_SECOND, ANSWERS_BURST)
        self._answered: dict[bytes, int] = {}
        """When each challenge was answered last, oldest first."""

    def may(self, nonce: bytes, now_ns: int) -> bool:
        """Whether to answer this challenge. If so, notes it."""
        last_ns = self._answered.get(nonce)
        if last_ns is not None and now_ns - last_ns < ANSWER_INTERVAL_NS:
            return False
        if not self._allowance.take(now_ns):
            return False
        self._answered.pop(nonce, None)
        if len(self._answered) >= ANSWERED_MAX:
            del self._answered[next(iter(self._answered))]
        self._answered[nonce] = now_ns
        return True
