"""The simulated network itself: order, faults, and that a seed determines all of it."""

from __future__ import annotations

from random import Random

import pytest

from services.totem.wire.base import RingId
from services.totem.wire.frames import HoldCancel, Kind, Token, encode_hold_cancel, encode_token
from tests.simulation.network import Network, Rule

TOKEN = encode_token(Token(1, 0, 0, 0, 0, RingId(1, 4)))
CANCEL = encode_hold_cancel(HoldCancel(1, RingId(1, 4)))


class Wire:
    """Collects what arrives."""

    def __init__(self, seed: int = 0) -> None:
        self.arrivals: list[tuple[int, int, bytes]] = []
        self.network = Network(Random(seed), lambda at, target, data: self.arrivals.append((at, target, data)))


def test_sound_links_keep_the_order() -> None:
    wire = Wire()
    wire.network.jitter_ns = 1_000_000
    for now in range(0, 100_000, 1000):
        wire.network.send(now, 1, 2, TOKEN)
    times = [at for at, _, _ in wire.arrivals]
    assert len(times) == 100
    assert times == sorted(times)


def test_reordering_lets_packets_overtake() -> None:
    wire = Wire()
    wire.network.reordering = 0.5
    for now in range(0, 100_000, 1000):
        wire.network.send(now, 1, 2, TOKEN)
    times = [at for at, _, _ in wire.arrivals]
    assert len(times) == 100
    assert times != sorted(times)


def test_loss_and_duplication_have_their_shares() -> None:
    wire = Wire()
    wire.network.loss = 0.25
    wire.network.duplication = 0.5
    for _ in range(4000):
        wire.network.send(0, 1, 2, TOKEN)
    lost = wire.network.dropped["TOKEN"]
    assert 900 < lost < 1100
    assert 1350 < len(wire.arrivals) - (4000 - lost) < 1650


def test_a_partition_cuts_both_ways_and_only_between_groups() -> None:
    wire = Wire()
    wire.network.partition([(1, 2), (3,)])
    for source, target in ((1, 2), (2, 1), (1, 3), (3, 2)):
        wire.network.send(0, source, target, TOKEN)
    assert [target for _, target, _ in wire.arrivals] == [2, 1]
    wire.network.calm()
    wire.network.send(0, 1, 3, TOKEN)
    assert wire.arrivals[-1][1] == 3


def test_a_rule_takes_what_it_matches_and_no_more() -> None:
    wire = Wire()
    rule = Rule(Kind.TOKEN, target=2, count=1)
    wire.network.rules.append(rule)
    wire.network.send(0, 1, 2, CANCEL)
    wire.network.send(0, 1, 3, TOKEN)
    wire.network.send(0, 1, 2, TOKEN)
    wire.network.send(0, 1, 2, TOKEN)
    assert [(target, data) for _, target, data in wire.arrivals] == [(2, CANCEL), (3, TOKEN), (2, TOKEN)]
    assert rule.hits == 1
    assert wire.network.dropped == {"TOKEN": 1}


@pytest.mark.parametrize("late_until_ns", [5_000_000, 100_000])
def test_no_fault_makes_a_packet_later_than_the_end_of_faults(late_until_ns: int) -> None:
    wire = Wire()
    wire.network.late_until_ns = late_until_ns
    wire.network.rules.append(Rule(delay_ns=1_000_000_000))
    wire.network.send(0, 1, 2, TOKEN)
    wire.network.rules.clear()
    wire.network.send(0, 1, 2, TOKEN)
    late, sound = (at for at, _, _ in wire.arrivals)
    assert late <= max(late_until_ns, sound + wire.network.jitter_ns)


def test_a_seed_determines_everything() -> None:
    first, second, other = Wire(7), Wire(7), Wire(8)
    for wire in (first, second, other):
        wire.network.loss = wire.network.reordering = wire.network.duplication = 0.2
        for now in range(500):
            wire.network.send(now, 1, 1 + now % 5, TOKEN)
    assert first.arrivals == second.arrivals
    assert first.arrivals != other.arrivals
