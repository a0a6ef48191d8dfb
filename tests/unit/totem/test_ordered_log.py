"""The ordered log: positions, acknowledgement, what is taken, credit, and what a new cpg is given."""

from __future__ import annotations

from typing import Any

import pytest

from rondo.protocol import batch, totem_reader
from rondo.protocol.envelope import BusError
from rondo.protocol.totem_reader import ENTRY_OVERHEAD_BYTES
from services.cpg import wire
from services.totem.ordered_log import QUEUE_BYTES_MAX, OrderedLog, queue_bytes_max_of

EPOCH = 5
RING, NEXT = (1, 8), (1, 12)


def send(log: OrderedLog, *envelopes: totem_reader.Envelope) -> None:
    """What cpg sends."""
    for envelope in envelopes:
        log.receive(totem_reader.encode(envelope))


def frames(log: OrderedLog) -> list[totem_reader.Envelope]:
    """All envelopes that are due to cpg."""
    found: list[totem_reader.Envelope] = []
    while (frame := log.next_frame()) is not None:
        found.append(totem_reader.decode(frame))
    return found


def welcome(log: OrderedLog) -> totem_reader.Welcome:
    """Send a hello, and take the welcome."""
    send(log, totem_reader.Hello(0, 1, 9))
    (first, *_) = frames(log)
    assert isinstance(first, totem_reader.Welcome)
    return first


def form(log: OrderedLog, ring: tuple[int, int] = RING) -> None:
    """Install a ring."""
    log.transitional((1, 4), ring, (1,), ())
    log.regular(ring, (1, 2), (2,), ())


def request(session: int, number: int, *data: bytes, note: bytes | None = None) -> list[Any]:
    """A SUBMIT item."""
    return [session, number, 2, note, list(data)]


@pytest.fixture
def log() -> OrderedLog:
    """A log with a cpg that attached before the first ring."""
    log = OrderedLog(EPOCH, 1, 99, 1 << 20)
    welcome(log)
    form(log)
    return log


def test_without_cpg_nothing_is_kept() -> None:
    """And the sync step is answered empty, so that the ring does not wait."""
    log = OrderedLog(EPOCH, 1, 99, 1 << 20)
    form(log)
    log.sync_step(RING)
    log.message(2, b"lost", False, None)
    assert log.take_sync_replies() == [(RING, [])]
    assert (log.head, log.bytes, log.next_frame()) == (0, 0, None)


def test_first_attach_wants_a_new_ring() -> None:
    """cpg must see one sync from its beginning; what it submits waits for that."""
    log = OrderedLog(EPOCH, 1, 99, 1 << 20)
    form(log)
    assert welcome(log).head == 0
    wanted = [log.reform_wanted]
    send(log, totem_reader.Submit(EPOCH, [request(7, 1, b"x")]))
    log.message(2, b"of the old ring", False, None)
    assert log.next_message() is None
    form(log, NEXT)
    wanted.append(log.reform_wanted)
    assert wanted == [True, False]
    assert log.next_message() is not None
    entries = [e for f in frames(log) if isinstance(f, totem_reader.Log) for e in f.entries]
    assert [entry[0] for entry in entries] == [totem_reader.TRANSITIONAL, totem_reader.REGULAR]


def test_attached_before_the_first_ring(log: OrderedLog) -> None:
    """Then no other ring is needed."""
    assert not log.reform_wanted
    assert log.head == 2


def test_requests_are_taken_once_and_in_order(log: OrderedLog) -> None:
    """Duplicates are confirmed and dropped; parts carry how many follow."""
    send(log, totem_reader.Submit(EPOCH, [request(7, 1, b"a", b"b"), request(8, 1, b"c")]))
    send(log, totem_reader.Submit(EPOCH, [request(7, 1, b"a", b"b"), request(7, 2, b"d")]))
    queued = []
    while (message := log.next_message()) is not None:
        queued.append((message.data, message.tag))
    assert queued == [(b"a", (7, 1, 1)), (b"b", (7, 1, 0)), (b"c", (8, 1, 0)), (b"d", (7, 2, 0))]
    assert [f.taken for f in frames(log) if isinstance(f, totem_reader.Taken)] == [[[7, 2], [8, 1]]]


@pytest.mark.parametrize("taken_apart", [False, True])
def test_a_run_is_one_request_of_many_messages(log: OrderedLog, taken_apart: bool) -> None:
    """It is pending until its last message is in the log, and costs as much as its messages would."""
    whole = batch.encode_batch(b"g", 1, 77, 3, batch.encode_body([b"a", b"bc", b""]))
    send(log, totem_reader.Submit(EPOCH, [request(7, 3, whole)]))
    message = log.next_message()
    assert message is not None
    parts = message.expanded() if taken_apart else [(message.data, message.tag)]
    if taken_apart:
        assert [data for data, _ in parts] == [batch.encode_mcast(b"g", 1, 77, each) for each in (b"a", b"bc", b"")]
        first, tag = parts.pop(0)
        log.message(1, first, False, tag)
    send(log, totem_reader.Hello(EPOCH, 1, 10))
    hello = frames(log)[0]
    assert isinstance(hello, totem_reader.Welcome)
    assert hello.pending == [[7, number, None] for number in ((2, 3) if taken_apart else (1, 2, 3))]
    for data, tag in parts:
        log.message(1, data, False, tag)
    send(log, totem_reader.Hello(EPOCH, 1, 11))
    hello, *rest = frames(log)
    assert isinstance(hello, totem_reader.Welcome)
    assert hello.pending == []
    tags = [entry[2] for envelope in rest if isinstance(envelope, totem_reader.Log) for entry in envelope.entries[2:]]
    assert tags == ([[7, 1, 0], [7, 2, 0], [7, 3, 0]] if taken_apart else [[7, 3, 0]])


def test_restarted_cpg_gets_what_follows_its_snapshot(log: OrderedLog) -> None:
    """Snapshot, table, kept parts, last-taken numbers, what is pending, and the log."""
    for n in range(3, 9):
        log.message(2, b"%d" % n, False, None)
    frames(log)
    send(
        log,
        totem_reader.Submit(EPOCH, [request(7, 4, b"j", note=b"join"), request(8, 9, b"m")]),
        totem_reader.Ack(EPOCH, 6, b"core", b"table", [3, 5], []),
        totem_reader.Ack(EPOCH, 7, None, None, [5, 7], []),
    )
    mine = log.next_message()
    assert mine is not None
    log.message(1, mine.data, False, mine.tag)
    log.lost_peer()
    assert log.next_frame() is None
    send(log, totem_reader.Hello(EPOCH, 1, 10))
    hello, kept, rest = frames(log)
    assert isinstance(hello, totem_reader.Welcome)
    assert isinstance(kept, totem_reader.Kept)
    assert isinstance(rest, totem_reader.Log)
    assert hello[:8] == (EPOCH, 1, 1, 99, 9, 7, b"core", b"table")
    assert (hello.taken, hello.pending) == ([[7, 4], [8, 9]], [[8, 9, None]])
    assert [(n, entry[4]) for n, entry in kept.entries] == [(5, b"5"), (7, b"7")]
    assert (rest.first, [entry[4] for entry in rest.entries]) == (8, [b"8", b"j"])
    assert rest.entries[1][2] == [7, 4, 0]


def test_acknowledged_entries_are_freed(log: OrderedLog) -> None:
    """Bytes are counted down to what is kept."""
    for _ in range(10):
        log.message(2, bytes(100), False, None)
    full = log.bytes
    frames(log)
    send(log, totem_reader.Ack(EPOCH, 12, b"core", None, [4], []))
    assert (log.bytes, log.acked) == (100 + ENTRY_OVERHEAD_BYTES, 12)
    assert full > 10 * 100
    send(log, totem_reader.Ack(EPOCH, 12, None, None, [], []))
    assert log.bytes == 0


@pytest.mark.parametrize(
    "ack",
    [
        totem_reader.Ack(EPOCH, 99, None, None, [], []),
        totem_reader.Ack(EPOCH, 2, None, None, [3], []),
        totem_reader.Ack(EPOCH, 2, None, None, [0], []),
    ],
)
def test_impossible_acknowledgements(log: OrderedLog, ack: totem_reader.Ack) -> None:
    """Of what was never sent, or that keep what is not there: refused, and nothing changes."""
    log.message(2, b"x", False, None)
    frames(log)
    before = (log.acked, log.bytes)
    with pytest.raises(BusError):
        send(log, ack)
    assert (log.acked, log.bytes) == before


def test_acknowledgement_does_not_fall(log: OrderedLog) -> None:
    """A smaller one is refused."""
    frames(log)
    send(log, totem_reader.Ack(EPOCH, 2, None, None, [], []))
    with pytest.raises(BusError):
        send(log, totem_reader.Ack(EPOCH, 1, None, None, [], []))


def test_credit(log: OrderedLog) -> None:
    """4 MiB may wait, one request more of any size; it grows as messages are ordered, and more is refused."""
    log.bytes_max = 64 << 20
    first = welcome(log).credit
    assert first == QUEUE_BYTES_MAX
    send(log, totem_reader.Submit(EPOCH, [request(7, 1, bytes(QUEUE_BYTES_MAX - 65))]))
    send(log, totem_reader.Submit(EPOCH, [request(7, 2, bytes(9_000_000))]))
    with pytest.raises(BusError, match="credit"):
        send(log, totem_reader.Submit(EPOCH, [request(7, 3, b"x")]))
    assert [f.credit for f in frames(log) if isinstance(f, totem_reader.Taken)] == [first]
    for _ in range(2):
        message = log.next_message()
        assert message is not None
        log.message(1, message.data, False, message.tag)
    grown = [f.credit for f in frames(log) if isinstance(f, totem_reader.Taken)]
    assert grown == [QUEUE_BYTES_MAX - 1 + 9_000_064 + QUEUE_BYTES_MAX]


@pytest.mark.parametrize(("log_mib", "client_mib", "queue_mib"), [(64, 32, 4), (8, 4, 2), (4, 2, 1), (64, 4, 2)])
def test_what_is_queued_fits_a_client_that_gets_it_back_at_once(log_mib: int, client_mib: int, queue_mib: int) -> None:
    """A ring that goes on after a stall orders the whole queue in a moment."""
    queue = queue_bytes_max_of(log_mib << 20, client_mib << 20)
    assert queue == queue_mib << 20
    log = OrderedLog(EPOCH, 1, 99, log_mib << 20, queue)
    assert welcome(log).credit == queue


def test_no_credit_above_half(log: OrderedLog) -> None:
    """A log more than half full takes nothing new from this node."""
    frames(log)
    for _ in range(6):
        log.message(2, bytes(100_000), False, None)
    assert log.pressure > 0.5
    send(log, totem_reader.Submit(EPOCH, [request(7, 1, bytes(1 << 20))]))
    (taken,) = [f for f in frames(log) if isinstance(f, totem_reader.Taken)]
    message = log.next_message()
    assert message is not None
    log.message(1, message.data, False, message.tag)
    assert not [f for f in frames(log) if isinstance(f, totem_reader.Taken)]
    send(log, totem_reader.Ack(EPOCH, log.head, b"core", None, [], []))
    (more,) = [f for f in frames(log) if isinstance(f, totem_reader.Taken)]
    assert more.credit > taken.credit


def test_parts_of_unfinished_messages_do_not_slow_the_ring(log: OrderedLog) -> None:
    """Only their rest frees them: without credit, or under backpressure, a message longer than half the log would take
    for ever."""
    kept: list[int] = []
    for _ in range(10):
        log.message(2, bytes(200_000), False, None)
        frames(log)
        kept.append(log.head)
        send(log, totem_reader.Ack(EPOCH, log.head, b"core", None, kept, []))
    assert log.bytes > log.bytes_max
    assert log.pressure == 0
    send(log, totem_reader.Submit(EPOCH, [request(7, 1, b"x")]))
    (taken,) = [f for f in frames(log) if isinstance(f, totem_reader.Taken)]
    assert taken.taken == [[7, 1]]
    log.message(2, b"last", False, None)
    frames(log)
    send(log, totem_reader.Ack(EPOCH, log.head, b"core", None, [], []))
    assert (log.bytes, log.pressure) == (0, 0)


def test_sync_step_is_answered_once(log: OrderedLog) -> None:
    """The second of two answers, as a replay gives it, and one that is too late are dropped."""
    log.sync_step(RING)
    send(log, totem_reader.SyncReply(EPOCH, 3, [b"downlist"]), totem_reader.SyncReply(EPOCH, 3, [b"downlist"]))
    assert log.take_sync_replies() == [(RING, [b"downlist"])]
    log.sync_step(RING)
    log.sync_abort(RING)
    send(log, totem_reader.SyncReply(EPOCH, 4, []))
    assert log.take_sync_replies() == []


def test_stale_envelopes_do_nothing(log: OrderedLog) -> None:
    """Of another epoch, or before a hello: answered with AGAIN."""
    frames(log)
    send(log, totem_reader.Submit(4, [request(7, 1, b"old")]))
    assert frames(log) == [totem_reader.Again(EPOCH)]
    log.lost_peer()
    send(log, totem_reader.Ack(EPOCH, 2, b"x", None, [], []))
    assert (frames(log), log.acked, log.next_message()) == ([totem_reader.Again(EPOCH)], 0, None)


def test_frame_that_could_not_be_sent_comes_again(log: OrderedLog) -> None:
    """Nothing is skipped, nothing overtakes."""
    frames(log)
    log.message(2, b"x", False, None)
    frame = log.next_frame()
    assert frame is not None
    log.unsend(frame)
    log.message(2, b"y", False, None)
    entries = [e[4] for f in frames(log) if isinstance(f, totem_reader.Log) for e in f.entries]
    assert entries == [b"x", b"y"]


def test_batches_are_bounded(log: OrderedLog) -> None:
    """About 256 KiB an envelope; one entry of any size fits."""
    frames(log)
    for size in (100_000, 100_000, 100_000, 5_000_000, 10):
        log.message(2, bytes(size), False, None)
    assert [len(f.entries) for f in frames(log) if isinstance(f, totem_reader.Log)] == [3, 1, 1]


def test_gone_sessions_are_forgotten(log: OrderedLog) -> None:
    """Their last request numbers need not be kept."""
    send(log, totem_reader.Submit(EPOCH, [request(7, 4, b"x"), request(8, 1, b"y")]))
    frames(log)
    send(log, totem_reader.Ack(EPOCH, 0, None, None, [], [7]))
    assert welcome(log).taken == [[8, 1]]


def test_another_version() -> None:
    """Is refused, and garbage is."""
    log = OrderedLog(EPOCH, 1, 99, 1 << 20)
    for frame in (
        totem_reader.encode(totem_reader.Hello(0, 2, 9)),
        b"",
        b"\xc1",
        totem_reader.encode(totem_reader.Taken(EPOCH, [], 0)),
    ):
        if frame[1:2] != b"\x05":
            with pytest.raises(BusError):
                log.receive(frame)
    welcome(log)
    with pytest.raises(BusError, match="not for totem"):
        send(log, totem_reader.Taken(EPOCH, [], 0))


def can_wait(log: OrderedLog) -> bool:
    """Whether what waits for cpg can go on waiting."""
    return log.can_wait


def test_what_concerns_nobody_here_can_wait(log: OrderedLog) -> None:
    """Others' messages to groups that no process of this node is in; and everything before them goes at once."""
    to_group = batch.encode_mcast(b"g", 2, 7, b"a")
    assert not can_wait(log)  # the ring that cpg was not sent yet
    frames(log)
    log.message(2, to_group, False, None)
    assert can_wait(log)
    log.message(2, b"a join", False, None)
    assert not can_wait(log)
    frames(log)
    log.message(2, to_group, False, None)
    assert can_wait(log)
    send(log, totem_reader.Submit(EPOCH, [request(7, 1, to_group)]))
    assert not can_wait(log)  # that it was taken
    frames(log)
    log.message(2, to_group, False, None)
    assert can_wait(log)
    log.message(1, to_group, False, (7, 1, 0))
    assert not can_wait(log)  # our own
    frames(log)
    form(log, NEXT)
    assert not can_wait(log)


def test_messages_to_a_group_that_somebody_here_is_in_do_not_wait(log: OrderedLog) -> None:
    """From the moment at which the join is in the log until the last process has left."""
    to_group, to_another = (batch.encode_mcast(name, 2, 7, b"a") for name in (b"g", b"gg"))

    def waits(message: bytes) -> bool:
        frames(log)
        log.message(2, message, False, None)
        return can_wait(log)

    for pid in (70, 71):
        log.message(1, wire.encode_proc_join(b"g", pid), False, (pid, 1, 0))
    assert not waits(to_group)
    assert waits(to_another)
    log.message(1, wire.encode_proc_leave(b"g", 70, 2), False, (70, 2, 0))
    log.message(2, wire.encode_proc_leave(b"g", 71, 2), False, None)  # of another node, that has the same pid
    log.message(1, wire.encode_proc_leave(b"g", 72, 2), False, (72, 1, 0))  # that was not in it
    assert not waits(to_group)
    log.message(1, wire.encode_proc_leave(b"g", 71, 2), False, (71, 2, 0))
    assert waits(to_group)


def test_a_cpg_that_begins_waits_for_nothing(log: OrderedLog) -> None:
    frames(log)
    log.message(2, batch.encode_mcast(b"g", 2, 7, b"a"), False, None)
    assert can_wait(log)
    welcome(log)
    assert not can_wait(log)


def test_only_a_little_waits(log: OrderedLog) -> None:
    frames(log)
    for _ in range(10):
        log.message(2, batch.encode_mcast(b"g", 2, 7, bytes(30_000)), False, None)
    assert not can_wait(log)


def test_what_was_not_sent_cannot_be_acknowledged(log: OrderedLog) -> None:
    """The entry is there; cpg cannot have handled it all the same."""
    frames(log)
    sent = log.head
    log.message(2, b"later", False, None)
    with pytest.raises(BusError, match=f"acknowledged {sent + 1}"):
        send(log, totem_reader.Ack(EPOCH, sent + 1, None, None, [], []))
    assert log.acked == 0
    send(log, totem_reader.Ack(EPOCH, sent, None, None, [], []))
    frames(log)
    send(log, totem_reader.Ack(EPOCH, sent + 1, None, None, [], []))
    assert log.acked == sent + 1


def test_above_half_of_the_log_no_credit_is_given() -> None:
    """The bound is 4 MiB and 2.2 MiB are in: one more MiB that was submitted earns nothing new."""
    log = OrderedLog(EPOCH, 1, 99, 4 << 20)
    welcome(log)
    form(log)
    for _ in range(22):
        log.message(2, bytes(100 << 10), False, None)
    frames(log)
    assert 0.5 < log.pressure < 0.6
    send(log, totem_reader.Submit(EPOCH, [request(7, 1, bytes(1 << 20))]))
    message = log.next_message()
    assert message is not None
    log.message(1, message.data, False, message.tag)
    (taken,) = [envelope for envelope in frames(log) if isinstance(envelope, totem_reader.Taken)]
    assert taken.taken == [[7, 1]]
    assert taken.credit == QUEUE_BYTES_MAX
    send(log, totem_reader.Ack(EPOCH, log.head, b"core", None, [], []))
    assert log.pressure == 0
    (taken,) = [envelope for envelope in frames(log) if isinstance(envelope, totem_reader.Taken)]
    assert taken.credit > QUEUE_BYTES_MAX + (1 << 20)


def test_a_place_of_control_s_is_left_out_for_cpg(log: OrderedLog) -> None:
    """Positions are common: cpg is given the place, without content, and not woken for it."""
    frames(log)
    head = log.head
    assert log.skip() == head + 1
    assert log.can_wait
    assert frames(log) == [totem_reader.Log(EPOCH, head + 1, [[totem_reader.SKIP]])]
    send(log, totem_reader.Ack(EPOCH, head + 1, b"core", None, [], []))
    assert (log.acked, log.bytes) == (head + 1, 0)


def test_places_before_the_first_cpg_are_not_kept() -> None:
    log = OrderedLog(EPOCH, 1, 99, 1 << 20)
    assert [log.skip(), log.skip()] == [1, 2]
    found = welcome(log)
    assert (found.head, found.position, log.bytes) == (2, 2, 0)
    assert log.skip() == 3
    form(log)
    first = frames(log)[0]
    assert isinstance(first, totem_reader.Log)
    assert (first.first, first.entries[0]) == (3, [totem_reader.SKIP])
