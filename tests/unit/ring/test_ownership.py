"""Nothing but its own module writes a part of the ring's state."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.ring.ownership import foreign_writes

RING = Path(__file__).parents[3] / "services" / "totem" / "ring"
ANYBODY = frozenset({"Commit", "Counters", "Output", "Token"})
"""Messages are made by whoever sends them on, everybody counts, and everybody may leave something for the host."""
SOURCES = {path.stem: path.read_text() for path in RING.glob("*.py")}


def test_no_part_is_written_by_another_module() -> None:
    assert foreign_writes(SOURCES, ANYBODY) == []


@pytest.mark.parametrize(
    "write",
    [
        "s.rotation.token_seq = 1",
        "s.rotation.tokens_sent += 1",
        "s.consensus.proc.add(1)",
        "s.consensus.failed |= {1}",
        "del s.delivery.regular.frames[1]",
        "s.requests.asked[1] = 2",
        "s.now_ns = 0",
        "s.state = State.LEFT",
        "s.output = Output()",
        "books = s.hold\n    books.wanted = True",
        "found = s.consensus.dissenting\n    found.clear()",
        "s.token_at, s.membership.members = 1, ()",
        "store.released = 0",
        "whose().aru = 0",
    ],
)
def test_every_kind_of_foreign_write_is_seen(write: str) -> None:
    """In a module of its own, and in one that owns another part."""
    text = f"def act(s: RingState, store: PacketStore) -> None:\n    {write}\n"
    assert foreign_writes(SOURCES | {"other": text}, ANYBODY) != []
    assert foreign_writes(SOURCES | {"sizing": SOURCES["sizing"] + text}, ANYBODY) != []


@pytest.mark.parametrize("write", ["token.rtr = []", "s.counters.mcast_rx += 1", "local = {}\n    local[1] = 2"])
def test_what_is_nobodys_is_let_be(write: str) -> None:
    text = f"def act(s: RingState, token: Token) -> None:\n    {write}\n"
    assert foreign_writes(SOURCES | {"other": text}, ANYBODY) == []
