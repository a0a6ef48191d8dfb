"""How large packets may be, and what becomes of messages that not all members understand."""

from __future__ import annotations

from services.totem.ring.packing import Packer
from services.totem.ring.sizing import VISITS_AT_FIRST, PacketSize
from services.totem.wire.packets import decode_packet

BASE, LARGE = 1400, 60_000


def quiet(size: PacketSize, visits: int) -> int:
    """The limit after so many visits without a loss."""
    for _ in range(visits):
        size.visited(lost=False)
    return size.limit


def test_large_packets_are_given_up_at_a_loss_and_tried_again_ever_later() -> None:
    size = PacketSize(BASE)
    assert quiet(size, 1000) == BASE  # not every member takes them
    size.allow(LARGE)
    assert size.limit == LARGE
    for wait in (2 * VISITS_AT_FIRST, 4 * VISITS_AT_FIRST, 8 * VISITS_AT_FIRST):
        size.visited(lost=True)
        assert quiet(size, wait - 1) == BASE
        assert quiet(size, 1) == LARGE
    size.allow(0)
    assert quiet(size, 1 << 17) == BASE


def test_a_large_packet_counts_as_the_packets_that_it_stands_for() -> None:
    size = PacketSize(BASE)
    assert [size.units(length) for length in (0, 1, BASE, BASE + 1, LARGE)] == [1, 1, 1, 2, 43]


def test_a_packet_is_as_large_as_is_asked_for() -> None:
    packer = Packer(BASE)
    packer.add(bytes(100_000), "tag")
    sizes = [len(packet.payload) for size in (LARGE, 5000, None) if (packet := packer.take(size)) is not None]
    assert sizes == [LARGE, 5000, BASE]


def test_what_is_not_understood_by_all_is_sent_in_parts() -> None:
    packer = Packer(BASE)
    for takes_whole in (True, False):
        packer.takes_whole = takes_whole
        packer.add(b"first", 1, safe=True)
        packer.add(b"whole", 2, parts=lambda: [(b"a", "2a"), (b"bcd", "2b")])
        packer.add(b"last", 3)
        packet = packer.take()
        assert packet is not None
        pieces = decode_packet(packet.payload)[2]
        if takes_whole:
            assert (pieces, packet.tags) == ([b"first", b"whole", b"last"], (1, 2, 3))
        else:
            assert (pieces, packet.tags) == ([b"first", b"a", b"bcd", b"last"], (1, "2a", "2b", 3))
        assert packet.safe
        assert (packer.bytes_queued, packer.take()) == (0, None)
