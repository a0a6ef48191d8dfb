"""How large packets may be, and what becomes of messages that not all members understand."""

from __future__ import annotations

from services.totem.ring.packing import Packer
from services.totem.ring.sizing import MIDDLE_PACKET_BYTES, SENT_WINDOW, VISITS_AT_FIRST, PacketSize
from services.totem.wire.packets import decode_packet

BASE, MIDDLE, LARGE = 1400, MIDDLE_PACKET_BYTES, 60_000


def quiet(size: PacketSize, visits: int) -> int:
    """The limit after so many visits without a loss."""
    for _ in range(visits):
        size.visited(lost=False)
    return size.limit


def in_segments() -> PacketSize:
    size = PacketSize(BASE)
    size.allow(LARGE, in_segments=True)
    return size


def busy(size: PacketSize, visits: int, again: float, *, packets: int = 10) -> list[int]:
    """The limits at so many visits, at each of which so many full packets are sent, and this share of them again."""
    limits, owed = [], 0.0
    for _ in range(visits):
        for _ in range(packets):
            size.sent(size.limit)
        owed += again * packets
        while owed >= 1:
            size.sent(size.limit, again=True)
            owed -= 1
        size.visited(lost=True)
        limits.append(size.limit)
    return limits


def test_segments_stay_large_while_little_is_sent_again() -> None:
    assert set(busy(in_segments(), 5000, 0.3)) == {LARGE}


def test_segments_become_smaller_step_by_step_where_too_much_is_sent_again() -> None:
    size = in_segments()
    assert busy(size, 5, 0.9)[-1] == MIDDLE
    assert set(busy(size, VISITS_AT_FIRST, 0.9)) == {MIDDLE}  # for its price that is not too much
    size = in_segments()
    assert busy(size, 10, 3.0)[-1] == BASE
    assert set(busy(size, VISITS_AT_FIRST, 3.0)) == {BASE}  # there is nothing smaller


def test_the_next_larger_size_is_tried_ever_later_while_it_fails() -> None:
    size, tries = in_segments(), []
    for _ in range(40_000):
        before = size.limit
        busy(size, 1, 0.9 if size.limit == LARGE else 0.1)
        if before == MIDDLE and size.limit == LARGE:
            tries.append(1)
    assert 5 <= len(tries) <= 10
    assert set(busy(size, 70_000, 0.1)[-1:]) == {LARGE}  # the losses have ended


def test_what_was_sent_long_ago_counts_less() -> None:
    size = in_segments()
    busy(size, 50 * SENT_WINDOW, 0.0)
    assert busy(size, 100, 1.0)[-1] < LARGE


def test_only_packets_of_the_present_size_are_counted() -> None:
    size = in_segments()
    for _ in range(1000):
        size.sent(MIDDLE, again=True)
        size.sent(BASE, again=True)
        size.visited(lost=True)
    assert size.limit == LARGE
    assert busy(size, 1, 2.0) == [MIDDLE]
    for _ in range(VISITS_AT_FIRST):
        size.sent(LARGE, again=True)  # on its way before
        size.visited(lost=True)
    assert size.limit == MIDDLE


def test_where_receive_buffers_are_small_there_is_no_middle() -> None:
    size = PacketSize(BASE)
    size.allow(5000, in_segments=True)
    assert size.limit == 5000
    busy(size, 10, 2.0)
    assert size.limit == BASE
    size.allow(0, in_segments=True)
    assert set(busy(size, 1000, 0.0)) == {BASE}


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
