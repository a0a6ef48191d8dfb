"""Who comes while a ring is being formed: it is taken in at once, not when the token time-out has passed."""

from __future__ import annotations

import pytest

from services.totem.ring.events import EVERYBODY, State
from services.totem.ring.options import RingOptions
from services.totem.ring.ring import Ring
from services.totem.wire.frames import Commit, Join, decode, encode_join


def sent(ring: Ring) -> list[tuple[int, bytes]]:
    """What the ring has sent since it was asked last."""
    ring.output.take_events()
    return ring.output.take_packets()


@pytest.fixture
def ring() -> Ring:
    """Node 1, which has agreed with node 2 and sent it the commit token of a ring of both."""
    ring = Ring(RingOptions(members=frozenset({1, 2, 3})), 1, 0, 0, lambda n: 0)
    ring.start(0)
    ring.receive(encode_join(Join(2, 2, (1, 2), (), 1)), 0)
    ring.receive(encode_join(Join(2, 2, (1, 2), (), 1)), 0)
    ring.receive(encode_join(Join(1, 1, (1, 2), (), 1)), 0)
    assert ring.state is State.COMMIT
    assert [type(decode(frame)) for to, frame in sent(ring) if to == 2] == [Commit]
    return ring


def test_a_member_that_knows_more_begins_the_gather_again(ring: Ring) -> None:
    ring.receive(encode_join(Join(2, 2, (1, 2, 3), (), 1)), 0)
    assert ring.state is State.GATHER
    joins = [decode(frame) for to, frame in sent(ring) if to == EVERYBODY]
    # It names the ring that was being formed, which brings back those that had the commit token after us.
    assert joins == [Join(1, 1, (1, 2, 3), (), 5)]


@pytest.mark.parametrize(
    "join",
    [
        Join(2, 2, (1, 2), (), 1),  # sent before the commit token came
        Join(2, 2, (2,), (), 1),  # older still
        Join(3, 3, (1, 2, 3), (), 1),  # no member: node 2 may still take the commit token
        Join(0, 2, (1, 2, 3), (2,), 1),  # a leave that is older than the ring
    ],
)
def test_other_joins_do_not_disturb_a_commit(ring: Ring, join: Join) -> None:
    ring.receive(encode_join(join), 0)
    assert ring.state is State.COMMIT
    assert sent(ring) == []
