"""The client's session without any I/O: what it says to what the gateway says."""

from typing import Any

import pytest

import rondo
from rondo._client.batches import REQUEST_BYTES
from rondo._client.groups import Group, GroupState
from rondo._client.session import Session
from rondo.protocol import events
from rondo.protocol.batch import encode_body
from rondo.protocol.client_gateway import FROM_CLIENT, Kind, decode, encode
from rondo.protocol.codes import Code
from rondo.protocol.envelope import pack
from rondo.protocol.events import encode_events
from rondo.protocol.requests import Op, decode_requests, expand_batches

ME = (1, 77)
MEMBER = rondo.Member(*ME)
LIMITS = [100_000, 10, 50_000, 10_000]
LEFT = [1, b"g", [], [], [[*ME, 2]]]
JOINED = [1, b"g", [list(ME)], [[*ME, 1]], []]
"""Memberships of group g without their position and request."""


class Node:
    """The gateway's side, by hand: it gives envelopes to a session, and reads those of the session."""

    def __init__(self) -> None:
        self.session = Session("test")
        self.epoch = 5
        self.n = 0

    def welcome(self, session: int = 9, position: int = 0, taken: int = 0, version: int = 1) -> None:
        fields = (version, ME[0], ME[1], session, b"s" * 16, position, taken, None, LIMITS)
        self.session.receive(encode(Kind.WELCOME, self.epoch, *fields))

    def give(self, kind: Kind, *fields: Any) -> None:
        self.session.receive(encode(kind, self.epoch, *fields))

    def requests(self) -> list[list[Any]]:
        """All requests that the session has to send now."""
        sent: list[list[Any]] = []
        for envelope in self.session.outgoing(acknowledge=False):
            kind, epoch, fields = decode(envelope, FROM_CLIENT)
            assert (kind, epoch) == (Kind.REQUEST, self.epoch)
            first, last, blob = fields
            batch = expand_batches(decode_requests(blob))
            assert [request[0] for request in batch] == list(range(first, last + 1))
            sent += batch
        return sent

    def acknowledged(self) -> int | None:
        """The position that the session acknowledges now; None if it acknowledges none."""
        for envelope in self.session.outgoing(acknowledge=True):
            kind, _, fields = decode(envelope, FROM_CLIENT)
            if kind == Kind.ACK:
                return int(fields[0])
        return None

    def events(self, *events: list[Any]) -> None:
        """Give the session events, each with a position of its own."""
        first = self.n + 1
        numbered = []
        for event in events:
            self.n += 1
            numbered.append([self.n, *event])
        self.give(Kind.EVENTS, first, self.n, encode_events(numbered))

    def state_of(self, name: str) -> GroupState:
        """Of a group that the session is in, or about to be."""
        return self.session.groups[name].state

    def joined(self, name: str = "g") -> Group:
        """A group that the session is in, its first event taken."""
        group = self.session.join(name)
        (request,) = self.requests()
        self.give(Kind.SETTLED, request[0])
        self.events([1, name.encode(), [list(ME)], [[*ME, 1]], [], request[0]])
        assert group.state is GroupState.MEMBER
        assert isinstance(self.session.next_event(group), rondo.Membership)
        return group


def message(data: bytes, request: int | None = None, sender: tuple[int, int] = ME, name: bytes = b"g") -> list[Any]:
    """A message event without its position."""
    return [0, name, *sender, False, data, request]


@pytest.fixture
def node() -> Node:
    """A session that was welcomed."""
    made = Node()
    made.welcome()
    return made


def test_requests_are_numbered_kept_and_repeated(node: Node) -> None:
    group = node.joined()
    made = [node.session.mcast(group, 2, b"%d" % i) for i in range(2)]
    assert [r[0] for r in node.requests()] == [2, 3]
    made += [node.session.mcast(group, 2, b"%d" % i) for i in range(2, 4)]
    assert [r[0] for r in node.requests()] == [4, 5]
    assert node.requests() == []
    node.give(Kind.SETTLED, 3)
    assert [r is not None and r.is_accepted for r in made] == [True, True, False, False]
    hello = decode(node.session.hello(), FROM_CLIENT)[2]
    assert hello[3] == [9, b"s" * 16, 5, 1, 3]
    assert node.requests() == []  # nothing before the welcome
    node.welcome(position=1, taken=5)
    assert [r[0] for r in node.requests()] == [4, 5]
    assert made[2] is not None
    assert made[2].is_accepted


def test_what_was_received_before_is_not_received_again(node: Node) -> None:
    group = node.joined()
    node.events(message(b"a"), message(b"b"))
    node.give(Kind.EVENTS, 2, 4, encode_events([[2, *message(b"a")], [3, *message(b"b")], [4, *message(b"c")]]))
    node.give(Kind.EVENTS, 2, 3, encode_events([[2, *message(b"a")], [3, *message(b"b")]]))
    got = [node.session.next_event(group) for _ in range(4)]
    assert [event.data for event in got if isinstance(event, rondo.Message)] == [b"a", b"b", b"c"]
    assert got[3] is None


def test_envelopes_of_another_epoch_are_not_evaluated(node: Node) -> None:
    group = node.joined()
    node.session.receive(encode(Kind.EVENTS, 4, 2, 2, encode_events([[2, *message(b"old")]])))
    assert node.session.next_event(group) is None


def test_an_event_is_acknowledged_when_the_next_is_asked_for(node: Node) -> None:
    group = node.joined()
    assert node.acknowledged() is None
    assert node.session.next_event(group) is None
    assert node.acknowledged() == 1
    node.events(message(b"a"))
    node.session.next_event(group)
    assert node.acknowledged() is None
    node.session.handled(group)
    assert node.acknowledged() == 2


def test_a_group_that_is_not_read_holds_back_the_acknowledgement_of_all(node: Node) -> None:
    one, two = node.joined("one"), node.joined("two")
    node.events(message(b"a", name=b"one"))
    node.events(message(b"b", name=b"two"))
    for _ in range(3):
        node.session.next_event(two)
    assert node.acknowledged() is None
    node.session.next_event(one)
    assert node.acknowledged() == 2  # the two joins
    node.session.next_event(one)
    assert node.acknowledged() == 4


def test_the_window_bounds_requests_and_bytes_but_never_a_single_one(node: Node) -> None:
    group = node.joined()
    assert node.session.mcast(group, 2, bytes(50_000)) is not None
    assert node.session.mcast(group, 2, bytes(50_000)) is None
    with pytest.raises(rondo.TooBig):
        node.session.mcast(group, 2, bytes(50_001))
    node.requests()
    node.give(Kind.SETTLED, 2)
    for _ in range(10):
        assert node.session.mcast(group, 2, b"") is not None
    assert node.session.mcast(group, 2, b"") is None
    assert node.session.requests.bytes_kept == 10 * REQUEST_BYTES


def test_a_sender_at_full_speed_waits_for_more_or_for_what_is_settled(node: Node, monkeypatch: Any) -> None:
    monkeypatch.setattr("tests.unit.client.test_session.LIMITS", [10_000_000, 1000, 50_000, 10_000])
    node.welcome()
    group = node.joined()
    for _ in range(10):
        node.session.mcast(group, 2, bytes(30_000))
    assert len(node.requests()) == 10  # more than BULK_BYTES are under way now
    node.session.mcast(group, 2, b"small")
    assert node.requests() == []
    node.give(Kind.SETTLED, 8)  # the first of two batches
    assert [request[0] for request in node.requests()] == [12]
    for _ in range(8):
        node.session.mcast(group, 2, bytes(30_000))
    assert len(node.requests()) == 8
    node.session.mcast(group, 2, b"the last word")
    assert node.requests() == []
    assert len(node.session.outgoing(acknowledge=False, everything=True)) == 1
    for _ in range(5):
        node.session.mcast(group, 2, bytes(30_000))
    assert len(node.requests()) == 5


def test_a_refusal_lost_on_its_way_shows_when_a_later_message_is_ordered(node: Node) -> None:
    group = node.joined()
    lost = node.session.mcast(group, 2, b"lost")
    node.requests()
    later = node.session.mcast(group, 2, b"later")
    assert lost is not None
    assert later is not None
    node.requests()
    node.give(Kind.SETTLED, 3)
    node.events(message(b"later", 3))
    assert later.is_done
    assert later.error is None
    assert isinstance(lost.error, rondo.TryAgain)


def test_messages_that_wait_together_travel_as_a_run_and_are_told_apart(node: Node) -> None:
    group = node.joined()
    made = [node.session.mcast(group, 2, data) for data in (b"a", b"", b"c")]
    (envelope,) = node.session.outgoing(acknowledge=False)
    first, last, blob = decode(envelope, FROM_CLIENT)[2]
    assert (first, last, decode_requests(blob)) == (2, 4, [[2, Op.BATCH, b"g", 2, encode_body([b"a", b"", b"c"])]])
    node.give(Kind.SETTLED, 4)
    node.events([events.BATCH, b"g", *ME, False, encode_body([b"a", b"", b"c"]), 2])
    assert [r is not None and r.is_done and r.error is None and r.number for r in made] == [2, 3, 4]
    got = [node.session.next_event(group) for _ in range(3)]
    assert got[2] == rondo.Message("g", MEMBER, b"c", rondo.Configuration.REGULAR, 4)
    node.session.handled(group)
    assert node.acknowledged() == 2
    node.events([events.BATCH, b"g", 2, 5, True, encode_body([b"x", b"y"]), None])
    assert node.session.next_event(group) == rondo.Message(
        "g", rondo.Member(2, 5), b"x", rondo.Configuration.TRANSITIONAL, None
    )
    node.session.handled(group)
    assert node.acknowledged() is None  # the application has not taken the other message
    assert node.session.next_event(group) is not None
    assert node.session.next_event(group) is None
    assert node.acknowledged() == 3


def test_a_run_that_was_taken_apart_comes_back_message_by_message(node: Node) -> None:
    group = node.joined()
    made = [node.session.mcast(group, 2, b"%d" % i) for i in range(4)]
    node.requests()
    node.give(Kind.SETTLED, 5)
    node.events(message(b"0", 2), message(b"1", 3), [events.FAILED, 4, Code.NOT_EXIST])
    assert [r is not None and r.is_done for r in made] == [True, True, True, False]
    assert [r is not None and type(r.error) for r in made] == [type(None), type(None), rondo.NotExist, type(None)]
    node.give(Kind.LOST, "totem died", [5])
    told = [node.session.next_event(group) for _ in range(4)]
    assert told[2:] == [rondo.Disconnected("totem died"), rondo.UnknownOutcome((5,))]
    assert [r is not None and r.is_done for r in made] == [True] * 4


def test_refusals_have_their_own_exceptions(node: Node) -> None:
    group = node.session.join("g")
    node.requests()
    node.give(Kind.REPLY, pack([[1, Code.EXIST, None]]))
    assert isinstance(group.ended, rondo.Exists)
    assert node.session.groups == {}
    query = node.session.query_groups(hidden=False)
    node.requests()
    node.give(Kind.REPLY, pack([[2, Code.OK, []]]))
    assert (query.is_done, query.result, query.error) == (True, [], None)


def test_the_death_of_totem_tells_what_is_unknown_and_sends_nothing_again(node: Node) -> None:
    group = node.joined()
    made = []
    for i in range(5):
        made.append(node.session.mcast(group, 2, b"%d" % i))
        assert len(node.requests()) == 1  # each by itself, not as a batch: they share no fate
    node.give(Kind.SETTLED, 2)  # it was accepted, so it is listed
    node.give(Kind.REPLY, pack([[4, Code.LIBRARY, None]]))
    node.give(Kind.SETTLED, 4)
    node.give(Kind.LOST, "totem died", [2, 3])
    stale = node.session.mcast(group, 2, b"given before it was known")
    assert stale is not None
    assert isinstance(stale.error, rondo.Disconnected)
    assert node.requests() == []
    told = [node.session.next_event(group) for _ in range(2)]
    assert told == [rondo.Disconnected("totem died"), rondo.UnknownOutcome((2, 3))]
    assert node.session.mcast(group, 2, b"later") is None  # there is no room until the group is joined again
    node.epoch, node.n = 6, 0
    node.welcome(position=0, taken=6)
    assert node.requests() == [[7, Op.JOIN, b"g"]]
    node.events([1, b"g", [list(ME)], [[*ME, 1]], [], 7])
    assert node.session.next_event(group) == rondo.Reconnected()
    assert isinstance(node.session.next_event(group), rondo.Membership)
    assert all(r is not None and isinstance(r.error, rondo.Disconnected) for r in made)
    assert ["unknown" in str(r.error) for r in made if r is not None] == [True, True, False, False, False]
    later = node.session.mcast(group, 2, b"after")
    assert [r[:2] for r in node.requests()] == [[8, Op.MCAST]]
    assert later is not None


def test_a_new_epoch_without_a_word_makes_all_that_was_sent_unknown(node: Node) -> None:
    group = node.joined()
    for i in range(2):
        node.session.mcast(group, 2, b"%d" % i)
    node.requests()
    node.session.hello()
    queued = node.session.mcast(group, 2, b"queued")
    node.epoch, node.n = 6, 0
    node.welcome(taken=3)
    told = [node.session.next_event(group) for _ in range(3)]
    assert isinstance(told[0], rondo.Disconnected)
    assert told[1:] == [rondo.UnknownOutcome((2, 3)), rondo.Reconnected()]
    assert [r[1:] for r in node.requests()] == [[Op.JOIN, b"g"]]
    assert queued is not None
    assert isinstance(queued.error, rondo.Disconnected)


def test_what_was_sent_and_given_up_goes_on_as_a_query_that_means_nothing(node: Node) -> None:
    """Numbers have no gaps, and the node may have taken it or not."""
    group = node.joined()
    sent = [node.session.mcast(group, 2, b"%d" % i) for i in range(2)]
    assert [r[0] for r in node.requests()] == [2, 3]
    node.session.hello()
    unsent = node.session.mcast(group, 2, b"never sent")
    node.session.lost("nobody there")
    assert all(r is not None and isinstance(r.error, rondo.Disconnected) for r in (*sent, unsent))
    node.welcome(position=1, taken=1)
    assert node.requests() == [[2, Op.RING], [3, Op.RING], [4, Op.LEAVE, b"g"]]
    told = [node.session.next_event(group) for _ in range(3)]
    assert told == [rondo.Disconnected("nobody there"), rondo.UnknownOutcome((2, 3)), rondo.Reconnected()]
    node.events([*LEFT, 4])
    assert [r[:2] for r in node.requests()] == [[5, Op.JOIN]]
    node.events([*JOINED, 5])
    node.session.mcast(group, 2, b"after")
    assert [r[:2] for r in node.requests()] == [[6, Op.MCAST]]


def test_a_broken_connection_is_told_and_its_return_too(node: Node) -> None:
    group = node.joined()
    node.session.suspended("broken")
    node.session.suspended("broken")
    node.session.hello()
    node.welcome(position=1)
    told = [node.session.next_event(group) for _ in range(3)]
    assert told == [rondo.Suspended("broken"), rondo.Resumed(), None]


def test_a_stop_in_order_is_told_at_once(node: Node) -> None:
    group = node.joined()
    kept = node.session.mcast(group, 2, b"in vain")
    node.session.receive(encode(Kind.STOPPING, 5, "the node is being stopped"))
    node.session.suspended("broken")
    told = [node.session.next_event(group) for _ in range(2)]
    assert told == [rondo.Disconnected("the node is being stopped"), None]
    assert kept is not None
    assert isinstance(kept.error, rondo.Disconnected)


def test_a_long_absence_is_told_once_and_its_end_too(node: Node) -> None:
    group = node.joined()
    node.session.hello()
    node.session.lost("nobody there")
    node.session.lost("nobody there")
    node.welcome(position=1)
    told = [node.session.next_event(group) for _ in range(3)]
    assert told == [rondo.Disconnected("nobody there"), rondo.Reconnected(), None]


def test_leaving_owes_nothing_any_more(node: Node) -> None:
    group = node.joined()
    node.events(message(b"not taken"))
    node.session.leave(group)
    (request,) = node.requests()
    node.events([1, b"g", [], [], [[*ME, 2]], request[0]])
    assert node.acknowledged() == 3
    left = [node.session.next_event(group) for _ in range(3)]
    assert isinstance(left[0], rondo.Message)
    assert isinstance(left[1], rondo.Membership)
    assert left[2] is None
    assert group.is_over
    with pytest.raises(rondo.NotExist):
        node.session.mcast(group, 2, b"late")
    node.joined()


def test_being_cut_off_ends_everything_with_the_reason(node: Node) -> None:
    group = node.joined()
    request = node.session.mcast(group, 2, b"x")
    node.give(Kind.BYE, Code.QUEUE_FULL, "cut off: too slow")
    assert request is not None
    assert isinstance(request.error, rondo.QueueFull)
    assert node.session.next_event(group) == rondo.Disconnected("cut off: too slow")
    assert group.is_over
    with pytest.raises(rondo.QueueFull, match="too slow"):
        node.session.join("h")


@pytest.mark.parametrize("garbage", [b"", b"\xc1", b"\x90", b"\x92\x25\x05", encode(Kind.EVENTS, 5, 1, 2, b"\x91\x01")])
def test_a_gateway_that_talks_nonsense_ends_the_session(node: Node, garbage: bytes) -> None:
    node.joined()
    node.session.receive(encode(Kind.EVENTS, 5, 2, 2, b"\x91\x01") if garbage[:1] == b"\x95" else garbage)
    assert isinstance(node.session.ended, rondo.Disconnected)


def test_who_is_in_the_group_already_by_another_connection_is_told_so(node: Node) -> None:
    group = node.session.join("g")
    (join,) = node.requests()
    node.give(Kind.REPLY, pack([[join[0], Code.EXIST, ""]]))
    with pytest.raises(rondo.Exists, match="another connection of this process is in group 'g' already"):
        node.session.check(group)
    node.joined()


def test_every_code_has_its_exception() -> None:
    from rondo.errors import BY_CODE, error_of

    assert set(BY_CODE) == {int(code) for code in Code} - {Code.OK}
    for code, kind in BY_CODE.items():
        assert type(error_of(code)) is kind
        assert issubclass(kind, rondo.Error)
        assert str(error_of(code))
    assert type(error_of(999)) is rondo.Error


def test_waiting_for_order_is_not_held_up_by_what_waits_to_be_handled() -> None:
    """The node sends but so much that is not acknowledged: who leaves one group would wait for ever if it were alone to
    handle the events of another one."""
    node = Node()
    node.welcome()
    group = node.joined("g")
    node.session.handled(group)
    node.acknowledged()
    node.events(message(b"1"), message(b"2"))
    assert node.acknowledged() is None
    token = object()
    node.session.order_waiters.add(token)
    node.session.acknowledge_unhandled()
    assert node.acknowledged() == 3
    node.events(message(b"3"))
    assert node.acknowledged() == 4
    node.session.order_waiters.discard(token)
    node.events(message(b"4"))
    assert node.acknowledged() is None
    taken = [node.session.next_event(group) for _ in range(4)]
    assert [event.data for event in taken if isinstance(event, rondo.Message)] == [b"1", b"2", b"3", b"4"]
    node.session.handled(group)
    assert node.acknowledged() == 5


def test_the_acknowledgement_is_said_again_when_the_session_goes_on() -> None:
    """It may have been lost with the gateway or with cpg, and without it the node may send nothing more."""
    node = Node()
    node.welcome()
    group = node.joined("g")
    node.events(message(b"1"))
    node.session.next_event(group)
    node.session.handled(group)
    assert node.acknowledged() == 2
    assert node.acknowledged() is None
    node.session.hello()
    node.welcome(position=2)
    (envelope,) = node.session.outgoing(acknowledge=False)
    assert decode(envelope, FROM_CLIENT)[::2] == (Kind.ACK, [2])
    assert node.acknowledged() is None


def test_a_join_or_leave_for_which_there_was_no_room_is_tried_again() -> None:
    """A group that is joined again after a new epoch must not end because the node was busy then."""
    node = Node()
    node.welcome()
    group = node.session.join("g")
    (first,) = node.requests()
    node.give(Kind.REPLY, pack([[first[0], int(Code.TRY_AGAIN), None]]))
    node.give(Kind.SETTLED, first[0])
    (second,) = node.requests()
    assert second[1:] == first[1:]
    assert node.state_of("g") is GroupState.JOINING
    node.events([1, b"g", [list(ME)], [[*ME, 1]], [], second[0]])
    assert node.state_of("g") is GroupState.MEMBER
    node.session.leave(group)
    (leave,) = node.requests()
    node.give(Kind.REPLY, pack([[leave[0], int(Code.TRY_AGAIN), None]]))
    assert node.state_of("g") is GroupState.LEAVING
    (again,) = node.requests()
    assert again[1:] == leave[1:]


@pytest.mark.parametrize("version", [2, 3])
def test_a_node_may_speak_a_lower_version_than_this_client_and_another_one_after_its_upgrade(
    version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rondo._client.session.VERSION_MIN", 2)
    monkeypatch.setattr("rondo._client.session.VERSION", 3)
    node = Node()
    assert decode(node.session.hello(), FROM_CLIENT)[2][0] == 3
    node.welcome(version=version)
    assert node.session.is_open
    node.session.hello()
    node.welcome(version=5 - version)
    assert node.session.is_open


@pytest.mark.parametrize("version", [1, 4])
def test_a_node_that_answers_with_a_version_that_this_client_does_not_speak_ends_the_session(
    version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rondo._client.session.VERSION_MIN", 2)
    monkeypatch.setattr("rondo._client.session.VERSION", 3)
    node = Node()
    node.welcome(version=version)
    assert not node.session.is_open
    assert isinstance(node.session.ended, rondo.Disconnected)
