"""Ten scenarios of votequorum, seen on real nodes: in rings that C Corosync and Rondo nodes share, and of Rondo alone.

Each says what all nodes show after each step: C nodes with `corosync-quorumtool -s`, Rondo nodes with `rondo quorum`.
The numbers are those that C nodes alone have shown (tests/unit/control/test_scenarios.py has them without processes).
"""

import json
from collections.abc import Callable

import pytest

from rondo.testing.lab.complete_node import CompleteNode
from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.faults import Faults
from rondo.testing.lab.netns import Lab, LabError
from rondo.testing.lab.ring_config import RingConfig
from rondo.testing.lab.ring_nodes import Cluster
from tests.interop.votes_shown import Ask, Votes, c_tool, check_agree, of_c, of_rondo, rondo, votes

pytestmark = pytest.mark.namespaces

Kinds = list[type[CorosyncNode | CompleteNode]]
C, RONDO = CorosyncNode, CompleteNode
NOT_STORED = "Unable to update ev_tracking_barrier on disk data"
"""What Corosync 3.1.7 says instead of storing it: it writes to a file that it has closed."""
WINDOW_MS = 20_000
"""The window of last_man_standing. It is long enough to look at all nodes before it ends."""


class Ring:
    """Nodes of both kinds with one configuration, and the votes that they show."""

    def __init__(self, lab: Lab, kinds: Kinds, **quorum: str | int) -> None:
        """Node N is of kind N."""
        config = RingConfig.of_lab(lab, "udpu", quorum=quorum)
        self.lab = lab
        self.faults = Faults(lab)
        self.nodes = {number: kind(lab.host(number), config) for number, kind in enumerate(kinds, 1)}
        self.asks: dict[int, Ask] = {
            number: of_c if isinstance(node, CorosyncNode) else of_rondo for number, node in self.nodes.items()
        }

    def start_all(self) -> None:
        """Return when all are in one ring."""
        Cluster(list(self.nodes.values())).start()

    def check(self, *members: int, expected: int, quorum: int, quorate: bool) -> None:
        """All members show this, and that they are the members, with a vote each."""
        self.check_votes(votes(quorate, expected, len(members), quorum, members))

    def check_votes(self, wanted: Votes) -> None:
        """The same, whatever their votes."""
        check_agree(self.lab, {number: self.asks[number] for number, _ in wanted.members}, wanted)

    def hand(self, number: int, command: str, *values: int, refused: bool = False) -> None:
        """Change expected votes (`value`) or the votes of a node (`node value`) by the tool of this node's kind."""
        host = self.lab.host(number)
        if isinstance(self.nodes[number], CorosyncNode):
            # It says in the same words, and with no exit code, that it was refused: what is shown after it tells.
            flags = {"expected": ("-e",), "votes": ("-n", "-v")}[command]
            c_tool(host, *(text for flag, value in zip(flags, values, strict=True) for text in (flag, str(value))))
        elif refused:
            with pytest.raises(LabError, match="votequorum refuses"):
                rondo(host, "quorum", command, *map(str, values))
        else:
            rondo(host, "quorum", command, *map(str, values))

    def cancel_wait_for_all(self, number: int) -> None:
        """Cancel wait_for_all with the tool of this node's kind."""
        host = self.lab.host(number)
        if isinstance(self.nodes[number], CorosyncNode):
            host.run(["corosync-cmapctl", "-s", "quorum.cancel_wait_for_all", "u8", "1"])
        else:
            rondo(host, "quorum", "cancel-wait-for-all")

    def end(self) -> None:
        """Check that no node has logged or done anything suspicious."""
        for number, node in self.nodes.items():
            assert not node.suspicious(NOT_STORED), (number, node.suspicious(NOT_STORED))


def of(**mixed: Kinds) -> pytest.MarkDecorator:
    """A test with each of these rings, and with as many Rondo nodes alone."""
    rings = [pytest.param(kinds, id=name, marks=pytest.mark.corosync) for name, kinds in mixed.items()]
    count = max(map(len, mixed.values()))
    return pytest.mark.parametrize("kinds", [*rings, pytest.param([RONDO] * count, id="rondo_alone")])


@of(with_c=[C, RONDO, C])
def test_three_nodes_one_after_the_other(lab: Lab, kinds: Kinds) -> None:
    ring = Ring(lab, kinds)
    ring.nodes[1].start()
    ring.check(1, expected=3, quorum=2, quorate=False)
    ring.nodes[2].start()
    ring.check(1, 2, expected=3, quorum=2, quorate=True)
    ring.nodes[3].start()
    ring.check(1, 2, 3, expected=3, quorum=2, quorate=True)
    ring.end()


@pytest.mark.slow
@of(rondo_stands=[C, RONDO], c_stands=[RONDO, C])
def test_two_nodes_that_wait_for_each_other(make_lab: Callable[[int], Lab], kinds: Kinds) -> None:
    ring = Ring(make_lab(2), kinds, two_node=1)
    ring.nodes[2].start()
    ring.check(2, expected=2, quorum=1, quorate=False)
    ring.nodes[1].start()
    ring.check(1, 2, expected=2, quorum=1, quorate=True)

    # The cable is pulled: both go on.
    ring.faults.partition({1}, {2})
    ring.check(1, expected=2, quorum=1, quorate=True)
    ring.check(2, expected=2, quorum=1, quorate=True)
    ring.faults.heal()
    ring.check(1, 2, expected=2, quorum=1, quorate=True)

    ring.nodes[1].kill()
    ring.check(2, expected=2, quorum=1, quorate=True)
    ring.nodes[2].kill()
    ring.nodes[2].start()
    ring.check(2, expected=2, quorum=1, quorate=False)
    ring.cancel_wait_for_all(2)
    ring.check(2, expected=2, quorum=1, quorate=True)
    ring.nodes[1].start()
    ring.check(1, 2, expected=2, quorum=1, quorate=True)
    ring.end()


@of(with_c=[RONDO, C, C])
def test_wait_for_all(lab: Lab, kinds: Kinds) -> None:
    ring = Ring(lab, kinds, wait_for_all=1)
    for number in (1, 2):
        ring.nodes[number].start()
    ring.check(1, 2, expected=3, quorum=2, quorate=False)
    ring.nodes[3].start()
    ring.check(1, 2, 3, expected=3, quorum=2, quorate=True)
    ring.nodes[3].kill()
    ring.check(1, 2, expected=3, quorum=2, quorate=True)
    ring.end()


@pytest.mark.slow
@of(c_stands=[C, RONDO, C, RONDO], rondo_stands=[RONDO, C, RONDO, C])
def test_last_man_standing(make_lab: Callable[[int], Lab], kinds: Kinds) -> None:
    ring = Ring(make_lab(4), kinds, last_man_standing=1, last_man_standing_window=WINDOW_MS)
    ring.start_all()
    ring.check(1, 2, 3, 4, expected=4, quorum=3, quorate=True)
    ring.nodes[4].kill()
    ring.check(1, 2, 3, expected=4, quorum=3, quorate=True)
    ring.check(1, 2, 3, expected=3, quorum=2, quorate=True)
    ring.nodes[3].kill()
    ring.check(1, 2, expected=3, quorum=2, quorate=True)
    ring.check(1, 2, expected=2, quorum=2, quorate=True)
    ring.nodes[2].kill()
    ring.check(1, expected=2, quorum=2, quorate=False)

    # Who returns does not take the expected votes of one that is not quorate: they disagree until the next ring.
    # Its first message is its votes. It goes out in a ring of its own: in a common one node 1 would hear it, be quorate
    # before it tells its own, and be believed (test_who_is_heard_before_the_sync_makes_the_other_quorate).
    ring.faults.partition({1}, {2})
    ring.nodes[2].start()
    ring.check(2, expected=4, quorum=3, quorate=False)
    ring.faults.heal()
    check_agree(ring.lab, {1: ring.asks[1]}, Votes(True, 2, 2, 2, 2, ((1, 1), (2, 1))))
    check_agree(ring.lab, {2: ring.asks[2]}, Votes(False, 4, 4, 2, 3, ((1, 1), (2, 1))))
    ring.end()


@pytest.mark.slow
@of(with_c=[C, RONDO, C, RONDO])
def test_auto_tie_breaker_is_the_lowest_node(make_lab: Callable[[int], Lab], kinds: Kinds) -> None:
    ring = Ring(make_lab(4), kinds, auto_tie_breaker=1)
    ring.start_all()
    ring.check(1, 2, 3, 4, expected=4, quorum=3, quorate=True)
    ring.faults.partition({1, 2}, {3, 4})
    ring.check(1, 2, expected=4, quorum=3, quorate=True)
    ring.check(3, 4, expected=4, quorum=3, quorate=False)
    ring.faults.heal()
    ring.check(1, 2, 3, 4, expected=4, quorum=3, quorate=True)
    ring.faults.partition({1}, {2, 3, 4})
    ring.check(1, expected=4, quorum=3, quorate=False)
    ring.check(2, 3, 4, expected=4, quorum=3, quorate=True)
    ring.faults.heal()
    ring.check(1, 2, 3, 4, expected=4, quorum=3, quorate=True)
    ring.end()


@pytest.mark.slow
@of(with_c=[RONDO, C, C, RONDO])
def test_auto_tie_breaker_is_the_first_of_a_list(make_lab: Callable[[int], Lab], kinds: Kinds) -> None:
    ring = Ring(make_lab(4), kinds, auto_tie_breaker=1, auto_tie_breaker_node="3 1")
    ring.start_all()
    ring.check(1, 2, 3, 4, expected=4, quorum=3, quorate=True)
    ring.faults.partition({1, 2}, {3, 4})
    ring.check(1, 2, expected=4, quorum=3, quorate=False)
    ring.check(3, 4, expected=4, quorum=3, quorate=True)
    ring.faults.heal()
    ring.check(1, 2, 3, 4, expected=4, quorum=3, quorate=True)
    ring.end()


@pytest.mark.slow
@of(c_stays=[C, RONDO, C, RONDO], rondo_stays=[RONDO, C, RONDO, C])
def test_allow_downscale(make_lab: Callable[[int], Lab], kinds: Kinds) -> None:
    """Nodes that leave in order lower expected votes, and quorum no further than to what was expected."""
    ring = Ring(make_lab(4), kinds, allow_downscale=1)
    ring.start_all()
    ring.check(1, 2, 3, 4, expected=4, quorum=3, quorate=True)
    ring.nodes[4].stop()
    ring.check(1, 2, 3, expected=3, quorum=3, quorate=True)
    ring.nodes[3].stop()
    ring.check(1, 2, expected=2, quorum=3, quorate=False)
    ring.nodes[2].stop()
    ring.check(1, expected=1, quorum=3, quorate=False)
    ring.end()


@pytest.mark.slow
@of(with_c=[RONDO, C, RONDO, C])
def test_expected_votes_tracking(make_lab: Callable[[int], Lab], kinds: Kinds) -> None:
    ring = Ring(make_lab(4), kinds, expected_votes_tracking=1)
    ring.start_all()
    ring.check(1, 2, 3, 4, expected=4, quorum=3, quorate=True)
    for leaving, rest, quorate in ((4, (1, 2, 3), True), (3, (1, 2), False), (2, (1,), False)):
        ring.nodes[leaving].stop()
        ring.check(*rest, expected=4, quorum=3, quorate=quorate)
    ring.end()


@pytest.mark.slow
@of(with_c=[C, RONDO, C])
def test_votes_by_hand_and_what_is_refused(lab: Lab, kinds: Kinds) -> None:
    ring = Ring(lab, kinds)
    ring.start_all()
    ring.check(1, 2, 3, expected=3, quorum=2, quorate=True)
    ring.hand(2, "expected", 5)
    ring.check(1, 2, 3, expected=5, quorum=3, quorate=True)
    for value in (2, 6):
        for number in (1, 2):
            ring.hand(number, "expected", value, refused=True)
    ring.check(1, 2, 3, expected=5, quorum=3, quorate=True)
    ring.hand(3, "expected", 3)
    ring.check(1, 2, 3, expected=3, quorum=2, quorate=True)
    ring.hand(2, "votes", 3, 9)
    heavy = votes(True, 11, 11, 6, {1: 1, 2: 1, 3: 9})
    ring.check_votes(heavy)
    for number in (1, 2):
        ring.hand(number, "votes", 3, 1, refused=True)
    ring.check_votes(heavy)
    ring.end()


@of(with_c=[C, RONDO, C])
def test_without_a_provider_no_votes_are_counted(lab: Lab, kinds: Kinds) -> None:
    """C's tool fails; Rondo's says that there is no provider, and counts every node as quorate, as C's libraries do."""
    config = RingConfig.of_lab(lab, "udpu")
    Cluster([kind(lab.host(number), config) for number, kind in enumerate(kinds, 1)]).start()
    if kinds[0] is C:
        assert "Total votes" not in c_tool(lab.host(1), "-s")
    shown = json.loads(rondo(lab.host(2), "quorum", "--json"))
    assert (shown["provider"], shown["quorate"], shown["total_votes"], shown["nodes"]) == (None, True, None, [])
