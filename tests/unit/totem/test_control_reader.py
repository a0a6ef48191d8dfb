"""control's end of the log: gaps, commits taken whole, what a successor is given, and the sync's steps."""

from __future__ import annotations

import pytest

from rondo.protocol import totem_control as wire
from rondo.protocol.envelope import BusError
from services.totem.control_reader import ENTRY_BYTES, LOG_BYTES_MAX, QUEUE_BYTES_MAX, ControlReader

EPOCH = 5
RING = (1, 8)


def send(reader: ControlReader, *envelopes: wire.Envelope) -> None:
    """What control sends."""
    for envelope in envelopes:
        reader.receive(wire.encode(envelope))


def frames(reader: ControlReader) -> list[wire.Envelope]:
    """All envelopes that are due to control."""
    found: list[wire.Envelope] = []
    while (frame := reader.next_frame()) is not None:
        found.append(wire.decode(frame))
    return found


def welcome(reader: ControlReader) -> wire.Welcome:
    """Send a hello, and take the welcome. The log is left."""
    send(reader, wire.Hello(0, 1, 9))
    frame = reader.next_frame()
    assert frame is not None
    found = wire.decode(frame)
    assert isinstance(found, wire.Welcome)
    return found


def commit(number: int, n: int, state: bytes | None = None, *messages: bytes) -> wire.Commit:
    """A commit without sync replies."""
    return wire.Commit(EPOCH, number, n, state, list(messages), [])


@pytest.fixture
def reader() -> ControlReader:
    """Attached before its first ring, which is there."""
    reader = ControlReader(EPOCH, 1, 99)
    welcome(reader)
    reader.regular(3, RING, (1, 2))
    return reader


def test_without_control_nothing_is_kept_and_steps_are_answered_empty() -> None:
    reader = ControlReader(EPOCH, 1, 99)
    reader.regular(1, RING, (1, 2))
    for service in (0, 3, 5):
        reader.sync_step(2, RING, service)
    reader.message(3, 2, b"lost")
    assert reader.take_sync_replies() == [(RING, service, []) for service in (0, 3, 5)]
    assert (reader.bytes, frames(reader)) == (0, [])


def test_first_attach_wants_a_new_ring() -> None:
    reader = ControlReader(EPOCH, 1, 99)
    reader.regular(1, RING, (1, 2))
    assert welcome(reader) == wire.Welcome(EPOCH, 1, 1, 99, 0, 0, None, 0)
    wanted = [reader.reform_wanted]
    reader.message(2, 2, b"of the old ring")
    send(reader, commit(1, 0, b"state", b"waits"))
    assert reader.next_message() is None, "it would come back unseen"
    reader.transitional(3, (1, 2), ())
    reader.regular(4, (1, 12), (1, 2))
    wanted.append(reader.reform_wanted)
    assert wanted == [True, False]
    assert reader.next_message() == b"waits"
    found = frames(reader)
    assert found[0] == wire.Committed(EPOCH, 1, 0)
    assert found[1] == wire.Log(EPOCH, [[3, [1, [1, 2], []]], [4, [2, [1, 12], [1, 2]]]])


def test_positions_have_gaps(reader: ControlReader) -> None:
    reader.message(17, 1, b"own")
    reader.message(40, 2, b"other")
    assert frames(reader) == [
        wire.Log(EPOCH, [[3, [2, [1, 8], [1, 2]]], [17, [0, 1, True, b"own"]], [40, [0, 2, False, b"other"]]])
    ]
    send(reader, commit(1, 17, b"state"))
    assert (reader.position, reader.bytes) == (17, ENTRY_BYTES + 5)


def test_a_successor_begins_where_the_last_commit_was(reader: ControlReader) -> None:
    reader.message(17, 1, b"one")
    frames(reader)
    send(reader, commit(1, 3, b"state", b"message"), commit(2, 3))
    reader.message(20, 2, b"two")
    assert welcome(reader) == wire.Welcome(EPOCH, 1, 1, 99, 20, 3, b"state", 2)
    assert frames(reader) == [wire.Log(EPOCH, [[17, [0, 1, True, b"one"]], [20, [0, 2, False, b"two"]]])]
    assert reader.next_message() == b"message"
    assert reader.next_message() is None


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (commit(1, 3), "commit 1 after 1"),
        (commit(3, 3), "commit 3 after 1"),
        (commit(2, 2), "not between 3 and 17"),
        (commit(2, 18), "not between 3 and 17"),
        (commit(2, 3, None, bytes(QUEUE_BYTES_MAX)), "would be more than"),
    ],
)
def test_a_commit_is_taken_whole_or_not_at_all(reader: ControlReader, wrong: wire.Commit, why: str) -> None:
    reader.message(17, 1, b"one")
    frames(reader)
    send(reader, commit(1, 3, b"state", b"message"))
    frames(reader)
    before = (reader.position, reader.bytes, reader.queued_bytes)
    with pytest.raises(BusError, match=why):
        send(reader, wrong)
    assert (reader.position, reader.bytes, reader.queued_bytes) == before
    assert frames(reader) == []
    send(reader, commit(2, 17))
    assert frames(reader) == [wire.Committed(EPOCH, 2, 7)]


def test_what_was_not_sent_cannot_be_committed(reader: ControlReader) -> None:
    with pytest.raises(BusError, match="not between 0 and 0"):
        send(reader, commit(1, 3))


def test_a_step_is_done_by_the_commit_that_covers_it(reader: ControlReader) -> None:
    reader.sync_step(4, RING, 5)
    assert reader.take_sync_replies() == []
    frames(reader)
    send(reader, wire.Commit(EPOCH, 1, 4, b"state", [], [[4, [b"votes"]]]))
    assert reader.take_sync_replies() == [(RING, 5, [b"votes"])]
    assert reader.take_sync_replies() == []


@pytest.mark.parametrize("how", ["abort", "ring"])
def test_a_step_of_a_ring_that_is_gone_is_not_answered(reader: ControlReader, how: str) -> None:
    reader.sync_step(4, RING, 5)
    frames(reader)
    if how == "abort":
        reader.sync_abort(5, RING)
    else:
        reader.regular(5, (1, 12), (1,))
    send(reader, wire.Commit(EPOCH, 1, 4, b"state", [], [[4, [b"votes"]]]))
    assert reader.take_sync_replies() == []


def test_a_control_of_another_epoch_is_told_to_say_hello(reader: ControlReader) -> None:
    frames(reader)
    send(reader, wire.Commit(EPOCH + 1, 1, 0, None, [b"x"], []))
    assert frames(reader) == [wire.Again(EPOCH)]
    assert reader.next_message() is None


def test_a_frame_without_room_comes_again_first(reader: ControlReader) -> None:
    frame = reader.next_frame()
    assert frame is not None
    reader.unsend(frame)
    reader.message(17, 1, b"one")
    assert reader.next_frame() == frame


def test_pressure_is_what_control_has_not_evaluated(reader: ControlReader) -> None:
    reader.message(17, 2, bytes(LOG_BYTES_MAX // 2))
    assert 0.5 < reader.pressure < 0.51
    frames(reader)
    send(reader, commit(1, 17))
    assert reader.pressure == 0


def test_control_can_have_the_node_leave(reader: ControlReader) -> None:
    send(reader, wire.Evict(EPOCH, True, "too old"))
    assert reader.evicted == wire.Evict(EPOCH, True, "too old")


@pytest.mark.parametrize(
    "entry",
    [[0, 1, True], [0, 1, 1, b""], [2, [1], [1]], [3, [1, 8], "5"], [9, 1], [], None, [3, [1, 8]], [1, [1], [-1]]],
)
def test_what_is_no_entry_is_refused(entry: object) -> None:
    with pytest.raises(BusError):
        wire.decode(wire.encode(wire.Log(EPOCH, [[1, entry]])))
