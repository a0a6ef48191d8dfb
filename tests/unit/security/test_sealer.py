"""Sealing many packets at once, and the rule on which all secrecy rests: no counter is used twice."""

from __future__ import annotations

from services.totem.security.envelope import PREFIX_SIZE, TAIL, prefix_of
from tests.unit.security.nodes import OTHER_KEY, Node, acquaint

FRAME = b"\x70\xc0\x03\x01" + bytes(60)


def counter_of(datagram: bytes) -> int:
    _, counter = TAIL.unpack_from(datagram, PREFIX_SIZE)
    return int(counter)


def test_every_way_of_sealing_counts_on() -> None:
    """One key, one boot: a counter that is used twice would be a nonce that is used twice."""
    security = Node(1).security
    sealed: list[bytes] = []
    for _ in range(3):
        sealed += security.seal_all([FRAME])
        sealed += security.seal_all([FRAME, FRAME, FRAME])
        sealed.append(security.seal(FRAME))
        sealed.append(security.seal_for(2, FRAME))
        sealed.append(security.seal_to_keep(FRAME))
        sealed += security.seal_all([])
    counters = [counter_of(datagram) for datagram in sealed]
    assert len(counters) == 21
    assert len(set(counters)) == len(counters)


def test_many_packets_are_opened_like_single_ones() -> None:
    sender, receiver = Node(1), Node(2)
    acquaint(sender, receiver)
    frames = [FRAME + bytes(size) for size in range(20)]
    datagrams = sender.security.seal_all(frames)
    assert [receiver.open(datagram) for datagram in datagrams] == frames
    assert [receiver.open(datagram) for datagram in datagrams] == [None] * 20


def test_many_packets_are_sealed_with_the_key_in_use() -> None:
    """Also if they are the first that are sealed after the change."""
    sender = Node(1)
    old = prefix_of(sender.security.seal_all([FRAME])[0]).key_number
    new = sender.security.install_key(OTHER_KEY)
    sender.security.use_key(new)
    assert {prefix_of(datagram).key_number for datagram in sender.security.seal_all([FRAME, FRAME])} == {new}
    assert new != old
