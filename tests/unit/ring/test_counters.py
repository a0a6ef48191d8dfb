"""Counters of the ring that are tables have a bound; their sums go on without one."""

from services.totem.ring.counters import NODES_MAX, Counters


def test_so_many_nodes_are_counted_apart_and_no_more() -> None:
    counters = Counters()
    for node in range(1, NODES_MAX + 11):
        counters.packet_again(node)
        counters.token_again(node)
    counters.packet_again(1)
    assert len(counters.packets_again) == len(counters.tokens_again) == NODES_MAX
    assert counters.packets_again[1] == 2
    assert (counters.mcast_retx, counters.token_retransmitted) == (NODES_MAX + 11, NODES_MAX + 10)
