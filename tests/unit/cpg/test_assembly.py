"""Which parts of long messages the log must keep for a cpg that starts again from some position."""

from __future__ import annotations

from services.cpg.assembly import Assembly
from services.cpg.wire import Part, PartialMcast


def part(kind: Part, data: bytes, total: int = 6) -> PartialMcast:
    return PartialMcast(b"g", 20, total, kind, data, again=False)


def whole(assembly: Assembly, *positions: int) -> None:
    """A message of three parts at these positions of the log."""
    for kind, data, at in zip((Part.FIRST, Part.MIDDLE, Part.LAST), (b"ab", b"cd", b"ef"), positions, strict=True):
        assembly.add(at, at, 2, part(kind, data))


def test_the_parts_of_a_message_are_needed_while_it_is_unfinished() -> None:
    """The core runs ahead of what is acknowledged: the question is about a position that it has left behind."""
    assembly = Assembly()
    whole(assembly, 1, 2, 3)
    assert [assembly.needed_at(n) for n in range(5)] == [[], [1], [1, 2], [], []]


def test_a_message_that_is_held_up_is_needed_until_it_is_evaluated() -> None:
    """Its parts stand at 1 and 2; the sync holds the last one up until 9."""
    assembly = Assembly()
    assembly.add(1, 1, 2, part(Part.FIRST, b"abc"))
    assert assembly.add(2, 9, 2, part(Part.LAST, b"def")) == b"abcdef"
    assert assembly.needed_at(8) == [1, 2]
    assert assembly.needed_at(9) == []


def test_a_message_that_is_dropped_is_needed_up_to_then() -> None:
    assembly = Assembly()
    assembly.add(1, 1, 2, part(Part.FIRST, b"ab"))
    assembly.drop(4, (2, 20, b"g"))
    assert [assembly.needed_at(n) for n in (0, 1, 3, 4)] == [[], [1], [1], []]


def test_what_nobody_starts_from_any_more_is_forgotten() -> None:
    assembly = Assembly()
    whole(assembly, 1, 2, 3)
    whole(assembly, 4, 5, 6)
    assembly.forget(3)
    assert assembly.needed_at(2) == []
    assert assembly.needed_at(5) == [4, 5]
    assembly.forget(6)
    assert assembly.needed_at(5) == []
