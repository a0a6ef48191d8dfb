"""Every counter is taken once, in any order within the window, and never behind it."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from services.totem.security.replay import KEPT_COUNTERS, WINDOW, ReplayWindow
from tests.unit.security.nodes import Node, acquaint


class Model:
    """The same by a set of all counters ever taken."""

    def __init__(self, floor: int) -> None:
        self.floor, self.highest = floor, floor
        self.taken: set[int] = set()

    def take(self, counter: int) -> bool:
        new = counter > self.floor and counter > self.highest - WINDOW and counter not in self.taken
        if new:
            self.taken.add(counter)
            self.highest = max(self.highest, counter)
        return new


near = st.integers(1, 40)
edges = st.sampled_from(
    [WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW, 2 * WINDOW + 1, 3 * WINDOW, 1 << 40, KEPT_COUNTERS - 50]
)
counters = near | st.builds(lambda a, b: a + b, edges, near) | st.builds(int.__sub__, edges, near)


@given(st.integers(0, 20) | st.just(WINDOW), st.lists(counters, max_size=60))
def test_it_is_the_model(floor: int, order: list[int]) -> None:
    window, model = ReplayWindow(floor, 0), Model(floor)
    for counter in order:
        assert window.take(counter) == model.take(counter), counter


def test_its_edges() -> None:
    window = ReplayWindow(0, 0)
    assert not window.take(0)
    assert window.take(WINDOW)
    assert window.take(1), "the last one inside"
    assert not window.take(1)
    assert window.take(WINDOW + 2)
    assert not window.take(2), "just behind"
    assert window.take(3)
    assert WINDOW >= 4096


def test_what_was_kept_has_counters_of_its_own() -> None:
    window = ReplayWindow(0, 0)
    assert window.take(5 * WINDOW)
    assert window.take(KEPT_COUNTERS + 3)
    assert not window.take(KEPT_COUNTERS + 3)
    assert not window.take(KEPT_COUNTERS + 2), "only the newest is of use"
    assert window.take(5 * WINDOW + 1), "and the others go on as before"
    assert window.take(KEPT_COUNTERS + 4)
    assert not window.take(5 * WINDOW)


def test_a_kept_frame_is_taken_however_late_and_once() -> None:
    one, two = Node(1), Node(2)
    acquaint(one, two)
    kept = one.security.seal_to_keep(b"goodbye")
    for number in range(3 * WINDOW):
        datagram = one.seal(b"%d" % number)
    assert two.open(datagram) is not None
    assert two.open(kept) == b"goodbye"
    assert two.open(kept) is None
    assert two.open(one.seal(b"more")) == b"more"


@given(st.permutations(range(30)))
def test_datagrams_may_come_in_any_order_and_each_counts_once(order: list[int]) -> None:
    one, two = Node(1), Node(2)
    acquaint(one, two)
    frames = [b"frame %d" % number for number in range(30)]
    datagrams = [one.seal(frame) for frame in frames]
    assert [two.open(datagrams[number]) for number in order] == [frames[number] for number in order]
    assert [two.open(datagram) for datagram in datagrams] == [None] * 30
    assert two.count("replayed") == 30


def test_many_at_once_is_the_same_as_one_by_one() -> None:
    """Whatever comes, and however it is grouped: fresh, late, twice, altered, of strangers."""
    draw = Random(7)
    for _ in range(30):
        sender, other, stranger = Node(1), Node(3), Node(1, life=2)
        singly, together = Node(2), Node(2, life=2)
        acquaint(sender, other, singly)
        acquaint(sender, other, together)
        before = [each.security.counters.copy() for each in (singly, together)]
        datagrams: list[tuple[bytes, tuple[str, int]]] = []
        for number in range(60):
            sealed = (sender if draw.random() < 0.7 else other).seal(b"\x70\xc0\x03\x01 %d" % number)
            if draw.random() < 0.1:
                sealed = sealed[: draw.randrange(len(sealed))]
            datagrams.insert(max(0, len(datagrams) - draw.choice((0, 0, 0, 3))), (sealed, ("10.0.0.9", 5405)))
            if draw.random() < 0.1:
                datagrams.append(draw.choice(datagrams))
        datagrams.append((stranger.seal(b"of another life"), ("10.0.0.9", 1)))
        wanted = [(frame, source) for datagram, source in datagrams if (frame := singly.open(datagram)) is not None]
        opened: list[tuple[bytes, tuple[str, int]]] = []
        at = 0
        while (at := together.security.open_known(datagrams, opened, at)) < len(datagrams):
            frame = together.open(datagrams[at][0])
            if frame is not None:
                opened.append((frame, datagrams[at][1]))
            at += 1
        assert opened == wanted
        assert len(opened) > 30
        counted = [each.security.counters - then for each, then in zip((singly, together), before, strict=True)]
        assert counted[0] == counted[1]
