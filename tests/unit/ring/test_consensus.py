"""Who forms a ring once all have agreed, and who is counted as failed when the commit token does not come."""

from __future__ import annotations

import pytest

from services.totem.ring.consensus import Consensus, Verdict
from services.totem.ring.events import EVERYBODY, State
from services.totem.ring.options import RingOptions
from services.totem.ring.ring import Ring
from services.totem.wire.base import Malformed
from services.totem.wire.frames import Join, decode_join, encode_join

MS = 1_000_000
OPTIONS = RingOptions(members=frozenset({1, 2, 3}))
SILENT_FROM_NS = (OPTIONS.consensus_timeout_ms + OPTIONS.token_timeout_ms - 300) * MS
"""A moment before the commit token is missed: too short a time for the detector of silent nodes."""


@pytest.mark.parametrize(("node", "verdict"), [(1, Verdict.AGREED), (2, Verdict.NOTHING_NEW), (3, Verdict.NOTHING_NEW)])
def test_of_those_who_agree_the_lowest_forms_the_ring(node: int, verdict: Verdict) -> None:
    consensus = Consensus(node, OPTIONS, 0)
    for each in (1, 2, 3):
        consensus.discover(each)
        consensus.detector.heard(each, MS)
    verdicts = [consensus.absorb(Join(each, each, (1, 2, 3), (), 4), (), 2 * MS) for each in (1, 2, 3)]
    assert verdicts == [Verdict.NOTHING_NEW, Verdict.NOTHING_NEW, verdict]


def test_who_falls_silent_after_all_had_agreed_is_counted_as_failed() -> None:
    """Nodes 1 and 3 agree with node 2, and node 1 sends no commit token; at last it says nothing at all."""
    ring, now_ns, last = Ring(OPTIONS, 2, 0, 0, lambda _limit: 0), 0, Join(0, 0, (), (), 0)
    speaking: tuple[int, ...] = (1, 3)
    ring.start(0)
    while not ring.counters.gather_token_lost:
        now_ns += 10 * MS
        assert now_ns < 20_000 * MS, "the commit token was not missed"
        if now_ns > SILENT_FROM_NS:
            speaking = (3,)
        for sender in speaking:
            ring.receive(encode_join(Join(sender, sender, (1, 2, 3), (), 4)), now_ns)
        ring.advance(now_ns)
        last = settled(ring, now_ns) or last
    assert ring.counters.consensus_timeouts == 1
    assert ring.state == State.GATHER
    assert (set(last.proc), set(last.failed)) == ({1, 2, 3}, {1})


def settled(ring: Ring, now_ns: int) -> Join | None:
    """The last join that it sent, once what it sends to itself has come back."""
    join = None
    while packets := ring.output.take_packets():
        ring.output.take_events()
        for to, frame in packets:
            try:
                join = decode_join(frame)
            except Malformed:
                continue
            if to in (2, EVERYBODY):
                ring.receive(frame, now_ns)
    return join
