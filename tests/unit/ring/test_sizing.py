"""How large packets may be, and what becomes of messages that not all members understand."""

from __future__ import annotations

import pytest

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


def now(size: PacketSize) -> tuple[int, bool]:
    return size.limit, size.parity


class Busy:
    """A sender that sends ten full packets at each visit, of which a share is sent again."""

    def __init__(self, size: PacketSize) -> None:
        self.size = size
        self.seq = 0
        self.owed = 0.0

    def visits(self, count: int, again: float) -> list[tuple[int, bool]]:
        """How it sends after each of so many visits."""
        found = []
        for _ in range(count):
            for _ in range(10):
                self.seq += 1
                self.size.sent(self.size.limit, self.seq)
            self.owed += again * 10
            while self.owed >= 1:
                self.size.sent_again(self.size.limit, self.seq)
                self.owed -= 1
            self.size.visited(lost=True)
            found.append(now(self.size))
        return found


STEPS = [(LARGE, False), (LARGE, True), (MIDDLE, True), (BASE, False)]


def test_segments_stay_large_while_little_is_sent_again() -> None:
    assert set(Busy(in_segments()).visits(5000, 0.15)) == {(LARGE, False)}


@pytest.mark.parametrize(("again", "step"), [(0.3, 1), (1.2, 2), (3.0, 3)])
def test_it_goes_so_many_steps_as_are_cheaper(again: float, step: int) -> None:
    busy = Busy(in_segments())
    passed = list(dict.fromkeys(busy.visits(VISITS_AT_FIRST, again)))
    assert passed == STEPS[: step + 1][-len(passed) :]
    assert now(busy.size) == STEPS[step]


def test_a_step_back_is_tried_ever_later_while_it_fails() -> None:
    busy, tries = Busy(in_segments()), 0
    for _ in range(40_000):
        before = now(busy.size)
        after = busy.visits(1, 0.9 if before == STEPS[0] else 0.1)[0]
        tries += (before, after) == (STEPS[1], STEPS[0])
    assert 5 <= tries <= 10
    assert busy.visits(70_000, 0.1)[-1] == STEPS[0]  # the losses have ended


def test_what_was_sent_long_ago_counts_less() -> None:
    busy = Busy(in_segments())
    busy.visits(50 * SENT_WINDOW, 0.0)
    assert busy.visits(100, 1.0)[-1] != STEPS[0]


def test_only_packets_of_the_present_step_are_counted() -> None:
    size = in_segments()
    size.sent(LARGE, 1000)
    for _ in range(1000):
        size.sent_again(MIDDLE, 1001)
        size.sent_again(LARGE, 999)
        size.visited(lost=True)
    assert now(size) == STEPS[0]
    for _ in range(1000):
        size.sent_again(LARGE, 1000)
    size.visited(lost=True)
    assert now(size) == STEPS[1]
    for _ in range(VISITS_AT_FIRST):
        size.sent_again(LARGE, 1000)  # sent without parity
        size.visited(lost=True)
    assert now(size) == STEPS[1]


def test_who_sends_again_in_vain_gives_up_large_packets_at_once() -> None:
    size = in_segments()
    size.distrust()
    assert now(size) == (BASE, False)
    Busy(size).visits(2 * VISITS_AT_FIRST, 0.0)
    assert now(size) == STEPS[2]


def test_where_receive_buffers_are_small_there_is_no_middle() -> None:
    size = PacketSize(BASE)
    size.allow(5000, in_segments=True)
    assert Busy(size).visits(50, 2.0)[-1] == (BASE, False)
    size.allow(0, in_segments=True)
    assert set(Busy(size).visits(1000, 0.0)) == {(BASE, False)}


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
        packer.keep_whole(takes_whole)
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
