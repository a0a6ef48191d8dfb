"""The question whether a sender lives with the boot that its packets say.

A packet under a boot that the receiver does not know may be a recording: all it proves is that the sender had the key
once. So the receiver asks the sender's address, with a nonce of its own: which boot are you now? Only who has the key
and hears the question at this moment can answer, and tells its boot by sealing the answer under it. A recorded answer
is to another nonce; a recorded packet causes a question whose answer changes nothing. What boot was asked about does
not matter, so no flood of recordings can push the true one aside.

The answer proves what comes after it; what came before is taken only if it is known to be no recording:

* The receiver knew an earlier boot of the sender. Then the new one began in the receiver's own lifetime, and every
  packet under it can be taken, once. So those that come while the question is open are kept and handed in when the
  answer says that they were true: a node that is restarted loses no time.
* The receiver knew none, because it is itself new. The sender may have sealed packets under this boot before the
  receiver started, which somebody may have recorded. So everything up to the answer's counter is refused.

Who is asked by somebody unknown asks back first and answers then, so that both know each other at once.
Both what is kept and how often is asked are bounded.
"""

from __future__ import annotations

from typing import NamedTuple

from services.totem.security.allowance import Allowance

ASK_INTERVAL_NS = 20_000_000
"""Questions to one sender are at least so far apart; another follows only if packets under an unknown boot do."""

LIFETIME_NS = 5_000_000_000
"""An answer that took longer is not believed."""

QUIET_NS = 1_000_000_000
"""A question that is open for longer is worth a complaint: the sender's address may be wrong."""

HELD_PER_SENDER = 64
HELD_BYTES_MAX = 1 << 20
"""Bounds of what is kept: packets of one sender, bytes of all."""


ANSWER_INTERVAL_NS = 10_000_000
"""One question is answered no sooner again, if its boot is not known to live: it may be a recording."""

ANSWERS_PER_SECOND, ANSWERS_BURST = 200, 50
"""Bounds of such answers to one sender ..."""
ANSWERED_MAX = 64
"""... and of the questions that are remembered for it."""


class Held(NamedTuple):
    """An authentic packet under a boot that is not known to live."""

    boot: bytes
    counter: int
    frame: bytes
    source: str


class Question:
    """One open question to one sender, and what waits for its answer."""

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
        """Keep a packet until the answer, unless there are enough; `bytes_left` is what the bound still allows."""
        if len(self.held) >= HELD_PER_SENDER or len(packet.frame) > bytes_left:
            return False
        self.held.append(packet)
        self.held_bytes += len(packet.frame)
        return True


class Answers:
    """When to answer the questions of one sender under boots that are not known to live.

    Who plays recordings of them gets an answer now and then, which is as long as the question and goes to the sender's
    configured address. A true question is another one than all those before, so they do not stand in its way.
    """

    __slots__ = ("_allowance", "_answered")

    def __init__(self) -> None:
        self._allowance = Allowance(ANSWERS_PER_SECOND, ANSWERS_BURST)
        self._answered: dict[bytes, int] = {}
        """When each question was answered last, oldest first."""

    def may(self, nonce: bytes, now_ns: int) -> bool:
        """Whether this question is to be answered; if so that is noted."""
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
