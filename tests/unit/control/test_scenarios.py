"""What corosync-quorumtool showed on real 3.1.7 nodes, scenario by scenario: (expected votes, highest expected, total
votes, quorum, quorate) of one node after each step."""

from __future__ import annotations

from services.control.quorum.events import ExpectedVotes, NodeState, QuorumChanged, VotesChanged, VotesNodelist
from tests.unit.control.ring import Cluster, options

THREE = {1: 1, 2: 1, 3: 1}
FOUR = {1: 1, 2: 1, 3: 1, 4: 1}


def _started(nodelist: dict[int, int], *nodes: int, **written: object) -> Cluster:
    """Each of the nodes is alone for a moment before all of them meet, as when they are started."""
    cluster = Cluster(nodelist, options(**written))
    for node in nodes:
        cluster.start(node)
        cluster.form(node)
    cluster.form(*nodes)
    return cluster


def test_three_nodes_one_after_the_other() -> None:
    cluster = _started(THREE, 1)
    assert cluster.shows(1) == (3, 3, 1, 2, False)
    cluster.start(2)
    cluster.form(2)
    cluster.form(1, 2)
    assert cluster.shows(1) == (3, 3, 2, 2, True)
    cluster.start(3)
    cluster.form(3)
    cluster.form(1, 2, 3)
    assert cluster.shows(1) == (3, 3, 3, 2, True)


def test_two_node_start_loss_restart_cancel() -> None:
    cluster = _started({1: 1, 2: 1}, 1, two_node=True)
    assert cluster.shows(1) == (2, 2, 1, 1, False)
    cluster.start(2)
    cluster.form(2)
    cluster.form(1, 2)
    assert cluster.shows(1) == (2, 2, 2, 1, True)
    cluster.kill(2)
    cluster.form(1)
    assert cluster.shows(1) == (2, 2, 1, 1, True)
    cluster.kill(1)
    cluster.start(1)
    cluster.form(1)
    assert cluster.shows(1) == (2, 2, 1, 1, False)
    cluster.members[1].votes.cancel_wait_for_all()
    cluster.deliver()
    assert cluster.shows(1) == (2, 2, 1, 1, True)


def test_wait_for_all_with_three_nodes() -> None:
    cluster = _started(THREE, 1, 2, wait_for_all=True)
    assert cluster.shows(1) == (3, 3, 2, 2, False)
    cluster.start(3)
    cluster.form(3)
    cluster.form(1, 2, 3)
    assert cluster.shows(1) == (3, 3, 3, 2, True)
    cluster.kill(3)
    cluster.form(1, 2)
    assert cluster.shows(1) == (3, 3, 2, 2, True)


def test_last_man_standing_down_to_one() -> None:
    cluster = _started(FOUR, 1, 2, 3, 4, last_man_standing=True, last_man_standing_window_ms=2000)
    seen = []
    for lost, rest in ((4, (1, 2, 3)), (3, (1, 2)), (2, (1,))):
        cluster.kill(lost)
        cluster.form(*rest)
        seen.append(cluster.shows(1))
        cluster.advance(2.1)
        seen.append(cluster.shows(1))
    assert seen == [
        (4, 4, 3, 3, True),
        (3, 3, 3, 2, True),
        (3, 3, 2, 2, True),
        (2, 2, 2, 2, True),
        (2, 2, 1, 2, False),
        (2, 2, 1, 2, False),
    ]


def _last_man_standing() -> Cluster:
    """Three of four nodes have gone one after the other: node 1 expects two votes, and is not quorate."""
    cluster = _started(FOUR, 1, 2, 3, 4, last_man_standing=True, last_man_standing_window_ms=2000)
    for lost, rest in ((4, (1, 2, 3)), (3, (1, 2)), (2, (1,))):
        cluster.kill(lost)
        cluster.form(*rest)
        cluster.advance(2.1)
    return cluster


def test_after_last_man_standing_nodes_of_one_ring_may_disagree() -> None:
    """Seen on real nodes: one that returns does not take over the expected votes of one that is not quorate."""
    cluster = _last_man_standing()
    cluster.start(2)
    cluster.form(2)
    cluster.form(1, 2)
    assert (cluster.shows(1)[0], cluster.shows(1)[4]) == (2, True)
    assert (cluster.shows(2)[0], cluster.shows(2)[4]) == (4, False)
    cluster.form(1, 2)
    assert (cluster.shows(2)[0], cluster.shows(2)[4]) == (2, True)


def test_who_is_heard_before_the_sync_makes_the_other_quorate() -> None:
    """And is given its expected votes, since it is quorate when it tells them. Seen on real nodes."""
    cluster = _last_man_standing()
    cluster.start(2)
    cluster.form(1, 2, heard_before_sync=True)
    assert cluster.shows(1) == cluster.shows(2) == (2, 2, 2, 2, True)


def test_auto_tie_breaker_lowest() -> None:
    cluster = _started(FOUR, 1, 2, 3, 4, auto_tie_breaker=True)
    cluster.split((1, 2), (3, 4))
    assert cluster.shows(1) == (4, 4, 2, 3, True)
    assert cluster.shows(3) == (4, 4, 2, 3, False)
    cluster.split((1,), (2, 3, 4))
    assert cluster.shows(1) == (4, 4, 1, 3, False)
    assert cluster.shows(2) == (4, 4, 3, 3, True)


def test_auto_tie_breaker_with_a_list() -> None:
    cluster = _started(FOUR, 1, 2, 3, 4, auto_tie_breaker=True, auto_tie_breaker_node="3 1")
    cluster.split((1, 2), (3, 4))
    assert not cluster.shows(1)[4]
    assert cluster.shows(3)[4]


def test_allow_downscale_four_nodes_leave_one_by_one() -> None:
    cluster = _started(FOUR, 1, 2, 3, 4, allow_downscale=True)
    seen = []
    for node in (4, 3, 2):
        cluster.leave(node)
        seen.append(cluster.shows(1))
    assert seen == [(3, 3, 3, 3, True), (2, 2, 2, 3, False), (1, 1, 1, 3, False)]


def test_expected_votes_tracking_four_nodes_leave_one_by_one() -> None:
    cluster = _started(FOUR, 1, 2, 3, 4, expected_votes_tracking=True)
    seen = []
    for node in (4, 3, 2):
        cluster.leave(node)
        seen.append(cluster.shows(1))
    assert seen == [(4, 4, 3, 3, True), (4, 4, 2, 3, False), (4, 4, 1, 3, False)]


def test_expected_votes_and_votes_by_tool() -> None:
    cluster = _started(THREE, 1, 2, 3)
    votes = cluster.members[1].votes
    assert votes.set_expected(5)
    cluster.deliver()
    assert [cluster.shows(node) for node in (1, 2, 3)] == [(5, 5, 3, 3, True)] * 3
    assert not votes.set_expected(2), "fewer than there are votes"
    assert not votes.set_expected(6), "quorum would be 4, and there are 3"
    assert votes.set_expected(3)
    cluster.deliver()
    assert votes.set_votes(2, 9)
    cluster.deliver()
    for node in (1, 2, 3):
        assert (cluster.info(node).total_votes, cluster.info(node).highest_expected, cluster.info(node).quorum) == (
            11,
            11,
            6,
        )
    assert not votes.set_votes(2, 1), "quorum is 6, and 3 votes would be left"
    assert cluster.info(1).total_votes == 11


def test_a_pulled_cable_between_two_nodes_leaves_both_quorate() -> None:
    """two_node counts on fencing: without it both sides go on."""
    cluster = _started({1: 1, 2: 1}, 1, 2, two_node=True)
    cluster.split((1,), (2,))
    assert cluster.shows(1)[4]
    assert cluster.shows(2)[4]


def test_events_of_a_ring_change_come_in_the_order_of_the_sync() -> None:
    cluster = _started(THREE, 1, 2, 3)
    events = cluster.members[1].events
    events.clear()
    cluster.kill(3)
    cluster.form(1, 2)
    assert [type(event) for event in events] == [VotesNodelist, QuorumChanged, VotesChanged]
    assert events[-1] == VotesChanged(True, ((1, NodeState.MEMBER), (2, NodeState.MEMBER), (3, NodeState.DEAD)))


def test_quorum_events_outside_a_sync_only_when_it_changes() -> None:
    cluster = _started(THREE, 1, 2)
    events = cluster.members[2].events
    events.clear()
    assert cluster.members[1].votes.set_expected(2)
    cluster.deliver()
    assert events == [ExpectedVotes(2)]


def test_two_node_is_for_two_members() -> None:
    """While a third one is there, more than half is needed."""
    cluster = Cluster({1: 1, 2: 1, 3: 1}, options(two_node=True, wait_for_all=False))
    cluster.start(1, 2, 3)
    cluster.form(1, 2)
    assert cluster.shows(1) == (3, 3, 2, 1, True)
    cluster.form(1, 2, 3)
    assert cluster.shows(1) == (3, 3, 3, 2, True)


def test_a_window_that_ends_without_quorum_lowers_nothing() -> None:
    """It began while there was quorum, and the next loss has ended that."""
    cluster = _started(FOUR, 1, 2, 3, 4, last_man_standing=True, last_man_standing_window_ms=2000)
    cluster.kill(4)
    cluster.form(1, 2, 3)
    cluster.split((1,), (2, 3))
    cluster.advance(3)
    assert cluster.shows(1) == (4, 4, 1, 3, False)
