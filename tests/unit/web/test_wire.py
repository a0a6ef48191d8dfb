"""What the pages tell each other: what is told arrives, and nothing else gets any further."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rondo.protocol.envelope import pack
from services.web.wire import (
    COUNTERS,
    EVENTS_MAX,
    INSTANCE_BYTES,
    LOG_BYTES_MAX,
    LOG_LINE_MAX,
    LOG_LINES_MAX,
    MEMBERS_MAX,
    MESSAGE_BYTES_MAX,
    TEXT_MAX,
    BadMessageError,
    Figures,
    Happened,
    Log,
    LogLine,
    LogWanted,
    Look,
    Told,
    bounded_log,
    pack_figures,
    pack_log,
    pack_look,
    pack_wanted,
    unpack_message,
)

INSTANCE = bytes(INSTANCE_BYTES)
FIGURES = Figures(
    name="alpha", software="rondo 0.1.0", state="operational", why="", healthy=True, ring="1.8", members=(1, 2),
    quorate=True, rotation_us=520, links_up=3, links=4, processes=(("totem", "running", 1),),
    applications=(("sleep-1", "started", 0),), counters=tuple(range(len(COUNTERS))),
)  # fmt: skip
EVENT = Happened(7, 1_700_000_000.5, "totem", "ring.formed", "notice", "A new membership")


def as_sent(**other: object) -> list[Any]:
    values = dataclasses.asdict(FIGURES) | other
    return [1, INSTANCE, list(values.values()), [list(dataclasses.asdict(EVENT).values())]]


def test_what_is_told_arrives() -> None:
    assert unpack_message(pack_figures(INSTANCE, FIGURES, [EVENT])) == Told(INSTANCE, FIGURES, (EVENT,))
    assert unpack_message(pack_figures(INSTANCE, FIGURES, [EVENT])) == unpack_message(pack(as_sent()))
    assert unpack_message(pack_look(is_new=True)) == Look(is_new=True)
    assert unpack_message(pack_wanted(3)) == LogWanted(3)
    assert unpack_message(pack_log([LogLine("cpg", "a line")])) == Log((LogLine("cpg", "a line"),))


@pytest.mark.parametrize(
    "message",
    [
        [], [2], [0], [0, 1], [0, True, 1], {"a": 1}, "text", None, [1, INSTANCE], [1, b"short", [], []],
        [1, INSTANCE, [], []], as_sent(state=7), as_sent(healthy=1), as_sent(members=[-1]), as_sent(members=[True]),
        as_sent(members=["1"]), as_sent(members=3), as_sent(quorate=2), as_sent(rotation_us=1.5),
        as_sent(rotation_us=2**63), as_sent(processes=[["totem", "running"]]), as_sent(counters=[1]),
        as_sent(applications=[["a", "b", "c"]]), [*as_sent()[:3], [[1, float("nan"), "a", "b", "c", "d"]]],
        [*as_sent()[:3], [[1, 1e300, "a", "b", "c", "d"]]], [*as_sent()[:3], [[1, 2]]], [*as_sent(), 1],
        [2, -1], [2, True], [2, "1"], [2, 1, 1], [3], [3, "text"], [3, [1]], [3, [["cpg"]]], [3, [["cpg", 1]]],
        [3, [["cpg", "a", "b"]]], [4, 1],
    ],
)  # fmt: skip
def test_what_is_malformed(message: object) -> None:
    with pytest.raises(BadMessageError, match=r"^malformed$"):
        unpack_message(pack(message))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pack([0, True]) + bytes(MESSAGE_BYTES_MAX), "too long"),
        (pack(as_sent(members=[1] * (MEMBERS_MAX + 1))), "too many"),
        (pack([*as_sent()[:3], [list(dataclasses.asdict(EVENT).values())] * (EVENTS_MAX + 1)]), "too many"),
        (pack([3, [["cpg", "a line"]] * (LOG_LINES_MAX + 1)]), "too many"),
        (b"\x93" * 1000, "malformed"),
        (b"", "malformed"),
    ],
)
def test_what_is_too_much(data: bytes, reason: str) -> None:
    with pytest.raises(BadMessageError, match=f"^{reason}$"):
        unpack_message(data)


def test_texts_are_cut() -> None:
    told = unpack_message(pack(as_sent(why="x" * 10_000)))
    assert isinstance(told, Told)
    assert told.figures.why == "x" * TEXT_MAX


@pytest.mark.parametrize("text", ["x", "x" * (LOG_LINE_MAX + 7), "\u20ac" * LOG_LINE_MAX])
def test_of_a_log_the_end_is_told(text: str) -> None:
    lines = [("cpg", f"{number} {text}") for number in range(LOG_LINES_MAX + 5)]
    told = bounded_log(lines)
    assert [line.text for line in told] == [line[:LOG_LINE_MAX] for _, line in lines[-len(told) :]]
    taken_bytes = sum(len(line.source) + len(line.text.encode()) for line in told)
    one_more_bytes = len("cpg") + len(lines[0][1][:LOG_LINE_MAX].encode()) + len("20")
    assert taken_bytes <= LOG_BYTES_MAX
    assert len(told) == LOG_LINES_MAX or taken_bytes + one_more_bytes > LOG_BYTES_MAX
    assert unpack_message(pack_log(told)) == Log(told)


def test_events_that_make_it_too_long_wait_for_the_next_message() -> None:
    events = [
        dataclasses.replace(EVENT, number=number, text="\u20ac" * TEXT_MAX) for number in range(1, EVENTS_MAX + 1)
    ]
    large = dataclasses.replace(
        FIGURES, why="\u20ac" * TEXT_MAX, applications=(("\u20ac" * TEXT_MAX, "started", 0),) * 20
    )
    packed = pack_figures(INSTANCE, large, events)
    told = unpack_message(packed)
    assert isinstance(told, Told)
    assert 0 < len(told.events) < EVENTS_MAX
    assert told.events == tuple(events[: len(told.events)])


@given(st.binary(max_size=300) | st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**63) | st.floats() | st.text(max_size=5) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=16), max_leaves=40,
).map(pack))  # fmt: skip
def test_nothing_else_comes_out_of_anything(data: bytes) -> None:
    try:
        message = unpack_message(data)
    except BadMessageError:
        return
    assert isinstance(message, Look | Told | LogWanted | Log)
