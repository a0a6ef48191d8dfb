"""A session that the node kept while the application was told `Disconnected`: its groups are left and joined again."""

import pytest

import rondo
from rondo._client.groups import Group, GroupState
from rondo.protocol.client_gateway import Kind
from rondo.protocol.codes import Code
from rondo.protocol.envelope import pack
from rondo.protocol.requests import Op
from tests.unit.client.test_session import JOINED, LEFT, MEMBER, Node, message, node

__all__ = ["node"]


def returning(node: Node) -> Group:
    """A group of a session that the node has kept while the application was told that it is lost."""
    group = node.joined()
    node.session.hello()
    node.session.lost("nobody there")
    node.welcome(position=1, taken=1)
    assert [node.session.next_event(group) for _ in range(3)][1:] == [rondo.Reconnected(), None]
    assert group.state is GroupState.RETURNING
    return group


def test_after_a_long_absence_a_group_is_joined_again_in_a_session_that_was_kept(node: Node) -> None:
    """The application's state is old, and all that comes before its membership is for nobody."""
    group = returning(node)
    (leave,) = node.requests()
    assert leave[1:] == [Op.LEAVE, b"g"]
    assert node.session.mcast(group, 2, b"too early") is None
    node.events(message(b"before", sender=(2, 5)), [1, b"g", [[2, 5]], [], [[3, 6, 3]], None])
    assert not node.requests()
    node.events([*LEFT, leave[0]], message(b"between", sender=(2, 5)))
    (join,) = node.requests()
    assert join[1:] == [Op.JOIN, b"g"]
    assert node.session.next_event(group) is None
    assert node.acknowledged() == node.n, "what is for nobody holds up nothing"
    node.events([*JOINED, join[0]], message(b"after", sender=(2, 5)))
    membership, after = (node.session.next_event(group) for _ in range(2))
    assert isinstance(membership, rondo.Membership)
    assert [change.member for change in membership.joined] == [MEMBER]
    assert isinstance(after, rondo.Message)
    assert after.data == b"after"
    assert group.state is GroupState.MEMBER
    assert node.session.mcast(group, 2, b"now") is not None


@pytest.mark.parametrize("refusals", [0, 2])
def test_what_is_sent_after_disconnected_follows_the_membership(node: Node, refusals: int) -> None:
    """In the membership before it would be ordered and given to nobody."""
    group = node.joined()
    node.session.hello()
    node.session.lost("nobody there")
    assert isinstance(node.session.next_event(group), rondo.Disconnected)
    sent = [node.session.mcast(group, 2, data) for data in (b"one", b"two")]
    other = node.session.join("other")
    node.welcome(position=1, taken=1)
    (leave,) = node.requests()
    for _ in range(refusals):
        node.give(Kind.REPLY, pack([[leave[0], Code.TRY_AGAIN, ""]]))
        assert node.requests()[0][1:] == [Op.LEAVE, b"g"]
        leave[0] += 1
    assert leave[1:] == [Op.LEAVE, b"g"]
    assert not node.requests()
    node.events([*LEFT, leave[0]])
    join, first, second, joining = node.requests()
    assert (join[1:], joining[1:]) == ([Op.JOIN, b"g"], [Op.JOIN, b"other"])
    assert [each[-1] for each in (first, second)] == [b"one", b"two"]
    node.events([*JOINED, join[0]])
    node.events(message(b"one", request=first[0]), message(b"two", request=second[0]))
    told = [node.session.next_event(group) for _ in range(4)]
    assert isinstance(told[1], rondo.Membership)
    assert [each.data for each in told[2:] if isinstance(each, rondo.Message)] == [b"one", b"two"]
    assert all(request is not None and request.is_done and request.error is None for request in sent)
    assert other.state is GroupState.JOINING


def test_a_group_that_is_about_to_be_joined_again_can_be_left(node: Node) -> None:
    group = returning(node)
    (forced,) = node.requests()
    node.session.leave(group)
    (asked,) = node.requests()
    node.events([*LEFT, forced[0]])
    node.give(Kind.REPLY, pack([[asked[0], Code.NOT_EXIST, ""]]))
    assert not node.requests()
    assert isinstance(node.session.next_event(group), rondo.Membership)
    assert group.is_over
    node.joined()


def test_a_group_that_the_node_does_not_know_any_more_is_joined_again(node: Node) -> None:
    group = returning(node)
    (leave,) = node.requests()
    node.give(Kind.REPLY, pack([[leave[0], Code.NOT_EXIST, ""]]))
    (join,) = node.requests()
    assert join[1:] == [Op.JOIN, b"g"]
    node.events([*JOINED, join[0]])
    assert isinstance(node.session.next_event(group), rondo.Membership)


@pytest.mark.parametrize("told", [True, False])
def test_the_log_may_end_while_a_group_is_about_to_be_joined_again(node: Node, told: bool) -> None:
    group = returning(node)
    node.requests()
    if told:
        node.give(Kind.LOST, "totem died", [])
    node.epoch += 1
    node.welcome(session=9, position=0, taken=0)
    node.n = 0
    (join,) = node.requests()
    assert join[1:] == [Op.JOIN, b"g"]
    node.events([*JOINED, join[0]])
    seen = [node.session.next_event(group) for _ in range(3)]
    assert isinstance(seen[0], rondo.Disconnected)
    assert isinstance(seen[1], rondo.Reconnected)
    assert isinstance(seen[2], rondo.Membership)
    assert group.state is GroupState.MEMBER
