"""Statistics that C programs track: each is told what is not as it was told last, if it reads its events."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from rondo.node.control_link import Answer, ControlLink
from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Op
from services.qb_gateway.connection import Connection
from services.qb_gateway.tracks import StatisticsTracker, Track, Tracks
from services.qb_gateway.wire import cmap

ALL_KINDS = cmap.DELETED | cmap.CHANGED | cmap.ADDED


class Control(ControlLink):
    """What is asked of control, which answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[Op, dict[str, Any], Answer]] = []

    def ask(self, op: Op, arguments: dict[str, Any], answer: Answer, whose: bytes = b"") -> None:
        self.asked.append((op, arguments, answer))

    def answer(self, **values: int) -> tuple[Op, str]:
        """Answer what was asked first with these values below `stats.`; what it was."""
        op, arguments, answer = self.asked.pop(0)
        keys = [[f"stats.{name}", 8, value] for name, value in sorted(values.items())]
        answer(Code.OK, [each for each in keys if str(each[0]).startswith(arguments["prefix"])])
        return op, arguments["prefix"]


class Program(Connection):
    """A program, which reads its events or does not."""

    def __init__(self) -> None:
        self.whose = b"1"
        self.told: list[bytes] = []
        self.reads = True

    @property
    def is_blocked(self) -> bool:
        return not self.reads

    def post(self, events: list[bytes]) -> None:
        self.told += events

    def take(self) -> list[tuple[int, str, int, int, int]]:
        """(handle, key, kind, new, old) of each event."""
        found, self.told = self.told, []
        return [_event(message) for message in found]


def _event(message: bytes) -> tuple[int, str, int, int, int]:
    handle, length = struct.unpack_from("<QH", message, 24)
    new_length, old_length = struct.unpack_from("<QQ", message, 320)
    new = message[336 : 336 + new_length]
    old = message[336 + new_length :][:old_length]
    kind = struct.unpack_from("<i", message, 296)[0]
    return handle, message[40 : 40 + length].decode(), kind, *(int.from_bytes(each, "little") for each in (new, old))


@pytest.fixture
def control() -> Control:
    return Control()


@pytest.fixture
def tracker(control: Control) -> StatisticsTracker:
    return StatisticsTracker(control)


def begin(
    tracker: StatisticsTracker, control: Control, program: Program, tracks: Tracks, track: Track, **values: int
) -> None:
    """Have the program track one thing more; the statistics are these now."""
    position = len(control.asked)

    def done(code: int) -> None:
        assert code == Code.OK
        tracks[len(tracks)] = track

    tracker.begin(program, tracks, track, done)
    control.asked.insert(0, control.asked.pop(position))
    assert control.answer(**values)[0] == Op.KEYS


def test_a_key_that_has_changed_is_told_with_both_values(control: Control, tracker: StatisticsTracker) -> None:
    program = Program()
    begin(tracker, control, program, {}, Track("stats.rx", ALL_KINDS, 7), rx=5, rx_more=1)
    assert control.answer(rx=5, rx_more=2) == (Op.SAMPLE, "stats.rx")
    assert program.take() == []
    control.answer(rx=8, rx_more=3)
    assert program.take() == [(7, "stats.rx", cmap.CHANGED, 8, 5)]
    control.answer(rx_more=3)
    assert program.take() == [(7, "stats.rx", cmap.DELETED, 0, 8)]
    control.answer(rx=1)
    assert program.take() == [(7, "stats.rx", cmap.ADDED, 1, 0)]


def test_of_a_prefix_only_coming_and_going_is_told(control: Control, tracker: StatisticsTracker) -> None:
    """As Corosync has it, also to those who ask for changes."""
    program = Program()
    begin(tracker, control, program, {}, Track("stats.a", ALL_KINDS | cmap.PREFIX, 7), a1=5)
    control.answer(a1=6, a2=1)
    assert program.take() == [(7, "stats.a2", cmap.ADDED, 1, 0)]
    control.answer(a2=2)
    assert program.take() == [(7, "stats.a1", cmap.DELETED, 0, 6)]


def test_only_the_kinds_that_were_asked_for_are_told(control: Control, tracker: StatisticsTracker) -> None:
    program = Program()
    begin(tracker, control, program, {}, Track("stats.a", cmap.CHANGED, 7), a=5)
    control.answer()
    control.answer(a=1)
    assert program.take() == []
    control.answer(a=2)
    assert program.take() == [(7, "stats.a", cmap.CHANGED, 2, 1)]


def test_what_is_tracked_since_the_sample_was_asked_for_is_not_told_as_gone(
    control: Control, tracker: StatisticsTracker
) -> None:
    program, tracks = Program(), Tracks()
    begin(tracker, control, program, tracks, Track("stats.a", ALL_KINDS, 1), a=1, b=1)
    begin(tracker, control, program, tracks, Track("stats.b", ALL_KINDS, 2), a=1, b=1)
    assert control.answer(a=2, b=2) == (Op.SAMPLE, "stats.a")
    assert program.take() == [(1, "stats.a", cmap.CHANGED, 2, 1)]
    assert control.answer(a=2, b=2) == (Op.SAMPLE, "stats.")
    assert program.take() == [(2, "stats.b", cmap.CHANGED, 2, 1)]


def test_a_second_track_of_a_key_swallows_no_change_of_the_first(control: Control, tracker: StatisticsTracker) -> None:
    program, tracks = Program(), Tracks()
    begin(tracker, control, program, tracks, Track("stats.a", ALL_KINDS, 1), a=1)
    begin(tracker, control, program, tracks, Track("stats.a", ALL_KINDS, 2), a=2)
    control.answer(a=2)
    assert (1, "stats.a", cmap.CHANGED, 2, 1) in program.take()


def test_who_does_not_read_is_told_later_and_once(control: Control, tracker: StatisticsTracker) -> None:
    program, other = Program(), Program()
    for each in (program, other):
        begin(tracker, control, each, {}, Track("stats.a", ALL_KINDS, 1), a=1)
    program.reads = False
    for value in (2, 3):
        control.answer(a=value)
        assert other.take() == [(1, "stats.a", cmap.CHANGED, value, value - 1)]
    assert program.take() == []
    program.reads = True
    control.answer(a=3)
    assert program.take() == [(1, "stats.a", cmap.CHANGED, 3, 1)]


def test_one_sample_at_a_time_serves_all_and_none_is_taken_for_nobody(
    control: Control, tracker: StatisticsTracker
) -> None:
    programs = [Program() for _ in range(20)]
    tracks: list[Tracks] = [{} for _ in programs]
    for program, its in zip(programs, tracks, strict=True):
        begin(tracker, control, program, its, Track("stats.a", ALL_KINDS, 1), a=1)
    assert [op for op, _, _ in control.asked] == [Op.SAMPLE]
    for program in programs[1:]:
        tracker.closed(program)
    tracks[0].clear()
    control.answer(a=2)
    assert control.asked == []
    assert [program.take() for program in programs] == [[]] * 20


def test_a_program_that_ends_before_its_track_has_begun_leaves_nothing(
    control: Control, tracker: StatisticsTracker
) -> None:
    program = Program()
    tracker.begin(program, {}, Track("stats.a", ALL_KINDS, 1), lambda _code: None)
    tracker.closed(program)
    control.answer(a=1)
    assert control.asked == []


def test_control_s_refusal_is_the_program_s(control: Control, tracker: StatisticsTracker) -> None:
    codes: list[int] = []
    tracker.begin(Program(), {}, Track("stats.a", ALL_KINDS, 1), codes.append)
    control.asked.pop()[2](Code.LIBRARY, "why")
    assert codes == [Code.LIBRARY]
    assert control.asked == []
