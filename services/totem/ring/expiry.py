"""Handlers of timers that show a failure: the token is lost, nothing moves, or this process was paused.

Timers that only repeat something are handled in the modules that start them (token.py, gather.py, foreign.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.totem.ring import gather
from services.totem.ring.events import GatherReason, NoticeCode
from services.totem.ring.timers import MS, Timer

if TYPE_CHECKING:
    from services.totem.ring.state import RingState


def token_lost_in_operational(s: RingState) -> None:
    """The token is lost, so a processor must have failed: form a new ring."""
    s.counters.operational_token_lost += 1
    s.notice(NoticeCode.PROCESSOR_FAILED)
    gather.enter(s, GatherReason.TOKEN_LOST_IN_OPERATIONAL)


def token_lost_in_commit(s: RingState) -> None:
    """The commit token is lost: begin anew."""
    s.counters.commit_token_lost += 1
    gather.enter(s, GatherReason.TOKEN_LOST_IN_COMMIT)


def token_lost_in_recovery(s: RingState) -> None:
    """The new ring's token is lost: begin anew. The packets of the old ring are kept."""
    s.counters.recovery_token_lost += 1
    gather.enter(s, GatherReason.TOKEN_LOST_IN_RECOVERY)


def token_late(s: RingState) -> None:
    """Tell the host that the token is late."""
    s.notice(NoticeCode.TOKEN_LATE, (s.now_ns - s.rotation.token_at_ns) // MS)


def stands_still(s: RingState) -> None:
    """The ring makes no progress although no loss is known: begin anew."""
    s.count_standstill()
    gather.enter(s, GatherReason.STANDSTILL)


def out_of_step(s: RingState) -> None:
    """The members are at different steps of the sync: start it again in a new ring."""
    gather.enter(s, GatherReason.SYNC_CONTRADICTION)


def check_pause(s: RingState) -> None:
    """If this process was not scheduled: treat waiting joins as stale, and expect no answers to earlier ones."""
    gap_ms = s.pause.check(s.now_ns)
    s.start_timer(Timer.PAUSE, s.pause.interval_ms)
    if gap_ms:
        s.consensus.forget_answers()
        s.notice(NoticeCode.PAUSED, gap_ms)
