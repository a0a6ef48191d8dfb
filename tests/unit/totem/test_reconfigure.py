"""A running node gets another nodelist and other time-outs."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import replace

import pytest

from services.totem.absence import Absence
from services.totem.backpressure import Backpressure
from services.totem.ring.events import EVERYBODY, State, SyncStep
from services.totem.ring.options import RingOptions
from services.totem.ring.ring import Ring
from services.totem.transport.address_book import LinkSettings
from services.totem.transport.base import TransportSettings
from services.totem.transport.link import Link
from services.totem.transport.resolver import Resolver
from services.totem.wire.frames import Join, encode_join
from tests.ports import reserve_port

MS = 1_000_000
TWO = frozenset({1, 2})
THREE = frozenset({1, 2, 3})


def settle(ring: Ring, now_ns: int) -> list[tuple[int, bytes]]:
    """What went to others, once what it sends to itself has come back."""
    sent: list[tuple[int, bytes]] = []
    while packets := ring.output.take_packets():
        sent += packets
        for event in ring.output.take_events():
            if isinstance(event, SyncStep):
                ring.sync_reply(event.ring, event.service, [])
        for to, frame in packets:
            if to == 1 or (to == EVERYBODY and frame[3] != 1):
                ring.receive(frame, now_ns)
    return sent


def state_of(ring: Ring) -> State:
    return ring.state


@pytest.fixture
def ring() -> Ring:
    """Node 1, alone in its ring."""
    ring = Ring(RingOptions(members=TWO), 1, 0, 0, lambda n: 0)
    ring.start(0)
    settle(ring, 0)
    assert ring.state is State.OPERATIONAL
    return ring


def test_a_node_is_let_in_once_it_is_listed(ring: Ring) -> None:
    join = encode_join(Join(3, 3, (3,), (), 4))
    ring.receive(join, MS)
    assert state_of(ring) is State.OPERATIONAL
    ring.change_options(RingOptions(members=THREE))
    ring.receive(join, 2 * MS)
    assert state_of(ring) is State.GATHER


def test_a_node_is_kept_out_once_it_is_not(ring: Ring) -> None:
    ring.change_options(RingOptions(members=frozenset({1})))
    ring.receive(encode_join(Join(2, 2, (2,), (), 4)), MS)
    assert state_of(ring) is State.OPERATIONAL


def test_timers_that_are_started_from_now_on_take_as_long_as_the_new_ones(ring: Ring) -> None:
    ring.change_options(RingOptions(members=TWO, consensus_timeout_ms=70, consensus_early_ms=0, join_timeout_ms=50))
    ring.receive(encode_join(Join(2, 2, (2,), (), 4)), MS)
    assert state_of(ring) is State.GATHER
    now_ns = MS
    while state_of(ring) is State.GATHER:
        deadline_ns = ring.next_deadline_ns()
        assert deadline_ns is not None
        assert deadline_ns <= 200 * MS, "the old consensus time-out was 3600 ms"
        now_ns = deadline_ns
        ring.advance(now_ns)
        settle(ring, now_ns)
    assert ring.members == (1,)


def _settings(port: int, node: int, *members: int) -> LinkSettings:
    return LinkSettings(
        TransportSettings(node, port),
        members={each: (f"127.0.0.{each}",) for each in members},
        local_address=f"127.0.0.{node}",
        check_interval_ms=50,
    )


def test_a_link_reaches_who_is_listed() -> None:
    with ExitStack() as stack:
        port = reserve_port(stack)
        link = Link(_settings(port, 1, 1, 2), Counter())
        stack.callback(link.close)
        link.start()
        assert link.tend((), 0)
        transport = link.transport
        assert transport is not None
        assert transport.peers() == [2]
        for members in ((1, 2, 3), (1, 3)):
            link.change_settings(_settings(port, 1, *members), 1)
            assert not link.tend((), 1), "the transport stays"
            assert link.transport is transport
            assert transport.peers() == [each for each in members if each != 1]
        assert link.node_at("127.0.0.3") == 3
        assert link.node_at("127.0.0.2") is None


def test_names_that_are_known_stay_so() -> None:
    former = Resolver(["a", "b"], lookup=lambda name: [], known={"a": ("10.0.0.1",), "b": ("10.0.0.2",)})
    resolver = Resolver(["b", "c", "10.0.0.9"], lookup=lambda name: [], known=former.known)
    assert [resolver.addresses(name) for name in ("a", "b", "c", "10.0.0.9")] == [
        (),
        ("10.0.0.2",),
        (),
        ("10.0.0.9",),
    ]
    former.close()
    resolver.close()


def test_who_is_not_listed_is_not_missed() -> None:
    absence = Absence((1, 2, 3), 0)
    absence.ring((1,), 0)
    absence.set_nodes((1, 3, 4), (1,), 5_000_000_000)
    assert [(each["node"], each["seconds"]) for each in absence.status(6_000_000_000)] == [(3, 6.0), (4, 1.0)]


def test_pauses_follow_the_token_timeout() -> None:
    backpressure = Backpressure(100, 500)
    backpressure.change_timers(20, 100)
    assert backpressure.update(1.0, 1, 0)
    assert backpressure.until_ns == 5 * MS
    assert backpressure.prolong(1.0, 19 * MS)
    assert not backpressure.prolong(1.0, 20 * MS)


def test_options_that_are_not_for_now_stay_with_the_ring(ring: Ring) -> None:
    ring.change_options(replace(RingOptions(members=TWO), token_timeout_ms=5000))
    assert ring.windows == (50, 17)
