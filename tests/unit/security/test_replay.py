"""Every counter is taken once, in any order within the window, and never behind it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.totem.security.replay import WINDOW, ReplayWindow
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
    [WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW, 2 * WINDOW + 1, 3 * WINDOW, 1 << 40, (1 << 64) - 1]
)
counters = near | st.builds(lambda a, b: min((1 << 64) - 1, a + b), edges, near) | st.builds(int.__sub__, edges, near)


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


@given(st.permutations(range(30)))
def test_datagrams_may_come_in_any_order_and_each_counts_once(order: list[int]) -> None:
    one, two = Node(1), Node(2)
    acquaint(one, two)
    frames = [b"frame %d" % number for number in range(30)]
    datagrams = [one.seal(frame) for frame in frames]
    assert [two.open(datagrams[number]) for number in order] == [frames[number] for number in order]
    assert [two.open(datagram) for datagram in datagrams] == [None] * 30
    assert two.count("replayed") == 30
