"""Rings of many nodes, as `make scale` measures them. These tests check what must hold whatever the figures are."""

import pytest

from tests.simulation.rates import one_lan
from tests.simulation.scale import Figures, ScaleNet, bytes_of, measure, options_of, three_sites

MEMBER_BYTES = 28
"""How much longer each member makes the commit token (docs/WIRE.md)."""


@pytest.fixture(scope="module")
def eight() -> Figures:
    return measure(8, one_lan)


def test_the_same_seed_gives_the_same_figures(eight: Figures) -> None:
    again = measure(8, one_lan)
    assert (again.form_s, again.rate, again.single_ms, again.silent_s) == (
        eight.form_s, eight.rate, eight.single_ms, eight.silent_s,
    )  # fmt: skip


def test_a_silent_node_costs_the_token_time_out_and_a_death_that_is_told_does_not(eight: Figures) -> None:
    token_s = options_of(8).token_timeout_ms / 1000
    assert token_s < eight.silent_s < token_s + 1.0
    assert eight.told_s < 0.1


def test_each_member_makes_the_commit_token_longer(eight: Figures) -> None:
    assert eight.membership_bytes - measure(7, one_lan).membership_bytes == MEMBER_BYTES


def test_between_data_centres_a_message_waits_for_the_way(eight: Figures) -> None:
    far = measure(8, three_sites(8))
    assert far.single_ms > 10 > eight.single_ms
    assert far.rate < eight.rate


def test_a_ring_that_does_not_form_is_told() -> None:
    net = ScaleNet(2, one_lan, 1)
    net.links = lambda _source, _target: (10**15, 0)
    for node in net.nodes.values():
        node.start()
    with pytest.raises(TimeoutError, match="2 nodes: not within"):
        net.seconds_until(lambda: net.nodes[1].synced)


def test_memory_is_counted_through_whatever_holds_it() -> None:
    class Holder:
        def __init__(self) -> None:
            self.held = [bytes(5000)]

    assert 5000 < bytes_of(Holder()) < 8000
