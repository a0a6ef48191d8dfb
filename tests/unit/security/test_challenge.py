"""A boot counts when its sender has confirmed it, and recordings of earlier lives of anybody never do."""

from __future__ import annotations

from services.totem.security.challenge import (
    ANSWERS_BURST,
    ANSWERS_PER_SECOND,
    ASK_INTERVAL_NS,
    HELD_BYTES_MAX,
    HELD_PER_SENDER,
    LIFETIME_NS,
    QUIET_NS,
)
from services.totem.security.envelope import ENQUIRY, Content
from services.totem.security.opener import TRIES_BURST, TRIES_PER_SECOND
from services.totem.security.peers import PEERS_MAX
from tests.unit.security.nodes import MS, Node, acquaint, converse


def test_strangers_get_to_know_each_other_by_one_frame() -> None:
    one, two = Node(1), Node(2)
    assert two.open(one.seal(b"lost, for nothing proves yet that it is new"), one.address) is None
    converse(one, two)
    assert two.released() == []
    assert two.open(one.seal(b"to two")) == b"to two"
    assert one.open(two.seal(b"to one")) == b"to one", "one asked back before it answered"
    for node in (one, two):
        assert (node.count("challenges_sent"), node.count("challenges_answered")) == (1, 1)
        assert not node.security.take_complaints()


def test_frames_of_a_restarted_sender_wait_for_its_answer() -> None:
    one, two = Node(1), Node(2)
    acquaint(one, two)
    again = Node(1, life=2)
    frames = [b"join %d" % number for number in range(5)]
    assert [two.open(again.seal(frame), again.address) for frame in frames] == [None] * 5
    converse(again, two)
    assert two.security.take_released() == [(frame, "10.0.0.1") for frame in frames]
    assert two.count("challenges_sent") == 2, "one for each life"
    assert two.open(again.seal(b"and then")) == b"and then"
    assert again.open(two.seal(b"back")) == b"back"
    assert two.count("unknown_boot") == 1, "only the very first hello"
    assert not two.security.take_complaints()


def test_a_restarted_node_starts_by_the_joins_that_answer_its_own() -> None:
    """The old member hears the join of the new life, answers with its own, and that is taken."""
    one, two = Node(1), Node(2)
    acquaint(one, two)
    one = Node(1, life=2)
    two.open(one.seal(b"join"), one.address)
    (question,) = two.replies_to(one)
    one.open(question, two.address)
    asks_back, answer = one.replies_to(two)
    two.open(asks_back, one.address)
    two.open(answer, one.address)
    assert two.released() == [b"join"]
    reaction = two.seal(b"my own join")
    for reply in two.replies_to(one):
        one.open(reply, two.address)
    assert one.open(reaction) == b"my own join"


def test_recordings_of_an_earlier_life_of_the_sender_do_nothing() -> None:
    one, two = Node(1), Node(2)
    acquaint(one, two)
    recorded = [one.seal(b"frame %d" % number) for number in range(50)]
    again, restarted = Node(1, life=2), Node(2, life=2)
    for receiver in (two, restarted):
        acquaint(again, receiver)
        for number, datagram in enumerate(recorded):
            receiver.now_ns += 40 * MS * (number % 2)
            assert receiver.open(datagram) is None
            converse(again, receiver)
            assert receiver.released() == []
            assert receiver.open(again.seal(b"alive")) == b"alive"
        assert receiver.count("unknown_boot") >= len(recorded) - (receiver is two)
        assert receiver.security.take_complaints()
    assert restarted.count("boots_accepted") == 1


def test_recordings_of_the_present_life_of_the_sender_do_nothing_to_a_restarted_receiver() -> None:
    one, two = Node(1), Node(2)
    acquaint(one, two)
    recorded = [one.seal(b"frame %d" % number) for number in range(50)]
    restarted = Node(2, life=2)
    for datagram in recorded:
        assert restarted.open(datagram) is None
        converse(one, restarted)
    assert restarted.released() == []
    assert restarted.count("boots_accepted") == 1, "that boot is alive"
    assert [restarted.open(datagram) for datagram in recorded] == [None] * 50
    assert restarted.count("unknown_boot") == 100
    assert restarted.open(one.seal(b"alive")) == b"alive"
    restarted.now_ns += QUIET_NS
    assert not restarted.security.take_complaints(), "what was on its way is no reason to complain"
    assert restarted.open(recorded[0]) is None
    assert [line.reason for line in restarted.security.take_complaints()] == ["unknown_boot"]


def test_a_recording_of_the_whole_conversation_does_nothing() -> None:
    one, two = Node(1), Node(2)
    recorded = [(one, one.seal(b"frame"))]
    two.open(recorded[0][1])
    while pending := [(node, r.datagram) for node in (one, two) for r in node.security.take_replies()]:
        recorded += pending
        for node, datagram in pending:
            (two if node is one else one).open(datagram)
    recorded.append((one, one.seal(b"frame")))
    assert len(recorded) == 6
    restarted = Node(2, life=2)
    for node, datagram in recorded * 3:
        if node is one:
            restarted.now_ns += ASK_INTERVAL_NS
            assert restarted.open(datagram) is None
    assert restarted.count("boots_accepted") == 0
    assert restarted.released() == []


def test_lost_questions_and_answers_are_made_up_for() -> None:
    one, two = Node(1), Node(2)
    acquaint(one, two)
    again = Node(1, life=2)
    two.open(again.seal(b"1"))
    two.security.take_replies()  # the question is lost
    two.open(again.seal(b"2"))
    assert not two.security.take_replies(), "not again at once"
    two.now_ns += ASK_INTERVAL_NS
    two.open(again.seal(b"3"))
    (question,) = two.replies_to(again)
    again.open(question)
    again.security.take_replies()  # the answer is lost
    two.now_ns += ASK_INTERVAL_NS
    again.now_ns += ASK_INTERVAL_NS
    two.open(again.seal(b"4"))
    converse(again, two)
    assert two.released() == [b"1", b"2", b"3", b"4"]


def test_the_answer_may_come_late_but_not_too_late() -> None:
    for late_ns, believed in ((LIFETIME_NS - 1, True), (LIFETIME_NS, False)):
        one, two = Node(1), Node(2)
        two.open(one.seal(b"hello"))
        (question,) = two.replies_to(one)
        one.open(question)
        answer = one.replies_to(two)[-1]
        two.now_ns += late_ns
        two.open(answer)
        assert two.open(one.seal(b"frame")) == (b"frame" if believed else None)
        assert two.count("stale_answers") == (not believed)


def test_a_sender_that_does_not_answer_at_its_address_is_complained_about() -> None:
    one, two = Node(1), Node(2)
    for _ in range(200):
        two.now_ns += 10 * MS
        assert two.open(one.seal(b"frame"), "10.0.0.77") is None
        two.security.take_replies()
    lines = two.security.take_complaints()
    assert [(line.reason, line.source) for line in lines] == [("unknown_boot", "10.0.0.77")]
    assert two.count("unknown_boot") == 200
    assert 90 <= two.count("challenges_sent") <= 100


def test_answers_count_only_for_the_question_of_this_receiver() -> None:
    one, two, three = Node(1), Node(2), Node(3)
    two.open(one.seal(b"frame"))
    (question,) = two.replies_to(one)
    one.open(question)
    answer = one.replies_to(two)[-1]
    three.open(one.seal(b"frame"))
    three.open(answer)
    assert three.count("malformed") == 1
    assert three.open(one.seal(b"frame")) is None
    two.open(one.security.sealer.seal_enquiry(Content.ANSWER, 2, bytes(16)))
    assert two.count("stale_answers") == 1
    assert two.open(one.seal(b"frame")) is None
    two.open(answer)
    assert two.open(one.seal(b"frame")) == b"frame"


def test_malformed_enquiries_are_counted() -> None:
    one, two = Node(1), Node(2)
    acquaint(one, two)
    sealer = one.security.sealer
    for content in (Content.CHALLENGE, Content.ANSWER):
        for inside in (b"", bytes(ENQUIRY.size - 1), bytes(ENQUIRY.size + 1), bytes(ENQUIRY.size)):
            assert two.open(sealer.seal_as(content, inside, b"")) is None
    assert two.count("malformed") == 8
    assert not two.security.take_replies()


def test_an_answer_is_no_longer_than_its_question() -> None:
    one, two = Node(1), Node(2)
    two.open(one.seal(b""))
    (question,) = two.replies_to(one)
    one.open(question)
    assert [len(reply) for reply in one.replies_to(two)] == [len(question)] * 2


def test_what_is_kept_is_bounded() -> None:
    one, two = Node(1), Node(2)
    acquaint(one, two)
    again = Node(1, life=2)
    for number in range(3 * HELD_PER_SENDER):
        two.open(again.seal(b"%d" % number))
    converse(again, two)
    assert two.released() == [b"%d" % number for number in range(HELD_PER_SENDER)]

    third = Node(1, life=3)
    two.now_ns += ASK_INTERVAL_NS
    for _ in range(HELD_PER_SENDER):
        two.open(third.seal(bytes(60_000)))
    assert two.security.opener.peers.held_bytes() <= HELD_BYTES_MAX
    converse(third, two)
    assert len(two.released()) == HELD_BYTES_MAX // 60_000
    assert two.security.opener.peers.held_bytes() == 0


def test_what_is_kept_too_long_is_refused() -> None:
    one, two = Node(1), Node(2)
    acquaint(one, two)
    again = Node(1, life=2)
    two.open(again.seal(b"old"))
    two.now_ns += LIFETIME_NS
    two.open(again.seal(b"new"))
    converse(again, two)
    assert two.released() == [b"new"]


def test_a_packet_that_waits_twice_is_handed_in_once() -> None:
    one, two = Node(1), Node(2)
    acquaint(one, two)
    again = Node(1, life=2)
    datagram = again.seal(b"once")
    two.open(datagram)
    two.open(datagram)
    converse(again, two)
    assert two.released() == [b"once"]
    assert two.count("replayed") == 1


def test_floods_of_boots_and_senders_take_no_memory() -> None:
    """Recordings of a thousand lives, and of more nodes than a ring can have."""
    one, two = Node(1, members=None), Node(2, members=None)
    acquaint(one, two)
    for life in range(1000):
        two.open(Node(1, life=2 + life).seal(b"frame"))
        two.now_ns += 1000
    peers = two.security.opener.peers
    (peer,) = peers.all()
    assert len({boot.boot for boot in (peer.known, peer.other) if boot}) == 2
    assert two.count("challenges_sent") <= 2
    two.security.take_replies()
    two.now_ns += 1000 * MS
    for number in range(10, 10 + 2 * PEERS_MAX):
        two.open(Node(number, members=None).seal(b"frame"))
    assert len(peers.all()) == PEERS_MAX
    assert two.open(one.seal(b"still known")) == b"still known"
    assert len(two.security.opener.sessions) == 1


def test_packets_of_invented_boots_take_bounded_time() -> None:
    """A hundred thousand a second: few of them are tried, and the sessions that are there do not notice."""
    one, two = Node(1), Node(2)
    acquaint(one, two)
    invented = bytearray(one.seal(b"frame"))
    second, each_ns = 1000 * MS, 10_000
    for number in range(second // each_ns):
        invented[14:22] = number.to_bytes(8)
        assert two.open(bytes(invented)) is None
        two.now_ns += each_ns
        if number % 1000 == 0:
            assert two.open(one.seal(b"true")) == b"true"
    tried = two.count("wrong_key")
    assert TRIES_PER_SECOND <= tried <= TRIES_PER_SECOND + TRIES_BURST
    assert two.count("not_tried") == second // each_ns - tried
    again = Node(1, life=2)
    two.now_ns += MS
    two.open(again.seal(b"hello"))
    converse(again, two)
    assert two.released() == [b"hello"], "a little later there is time for a new life"


def test_recorded_questions_are_answered_now_and_then() -> None:
    """Thousands a second, of an earlier life; a true question among them is answered at once."""
    one, two = Node(1), Node(2)
    recorded = []
    for each in range(5):
        earlier = Node(1, life=2 + each)
        acquaint(earlier, two)
        earlier.open(Node(2, life=2 + each).seal(b"who are you"))
        recorded += earlier.replies_to(two)
    acquaint(one, two)
    before = two.count("challenges_answered")
    for _ in range(1000):
        for question in recorded:
            assert two.open(question) is None
        two.security.take_replies()
        two.now_ns += MS
    assert two.count("challenges_answered") - before <= ANSWERS_PER_SECOND + ANSWERS_BURST
    assert two.count("answers_withheld") > 2000
    again = Node(1, life=50)
    two.now_ns += 10 * MS
    again.open(two.seal(b"hello"))
    (question,) = again.replies_to(two)
    two.open(question)
    assert len(two.replies_to(again)) == 2, "a question back, and the answer"


def test_a_copied_life_ends_and_nothing_is_lost() -> None:
    """After a snapshot the node seals under another boot; what it sealed before and after is taken, each once."""
    one, two = Node(1), Node(2)
    acquaint(one, two)
    before = one.seal(b"before")
    assert two.open(before) == b"before"
    one.security.begin_boot(b"n" * 16)
    after = one.seal(b"after")
    assert after[14:40] != before[14:40]
    assert two.open(after) is None
    assert one.open(two.seal(b"who is that")) is None, "it knows nobody any more: it may have missed something"
    converse(one, two)
    assert two.released() == [b"after"]
    assert two.open(one.seal(b"and on")) == b"and on"
    assert one.open(two.seal(b"and back")) == b"and back"
    kept = one.security.seal_to_keep(b"last words")
    assert two.open(kept) == b"last words"


def test_a_flood_of_recordings_does_not_keep_the_true_boot_out() -> None:
    one, two = Node(1), Node(2)
    acquaint(one, two)
    recorded = [Node(1, life=10 + life).seal(b"recorded") for life in range(50)]
    again = Node(1, life=2)
    for datagram in recorded:
        two.open(datagram)
    two.now_ns += ASK_INTERVAL_NS
    two.open(again.seal(b"true"))
    for datagram in recorded:
        two.open(datagram)
    converse(again, two)
    assert two.released() == [b"true"]
    assert two.open(again.seal(b"frame")) == b"frame"
