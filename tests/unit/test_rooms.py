"""docs/ARCHITECTURE.md speaks of the tree as it is: every room is in it, and every file that it names is there."""

from __future__ import annotations

import re

from tests.unit import rooms


def test_every_room_is_named_with_its_sentence() -> None:
    assert rooms.PRINTED.document() == rooms.DOCUMENT.read_text(), "python -m tests.unit.rooms --write"


def test_every_file_that_is_named_is_there() -> None:
    modules = {
        path.relative_to(rooms.ROOT)
        for top in ("services", "rondo", "tests", "packaging")
        for path in (rooms.ROOT / top).rglob("*.py")
    }
    named = set(re.findall(r"[\w/]*\w\.py\b", rooms.DOCUMENT.read_text()))
    there = {name for name in named if any(f"/{path}".endswith(f"/{name.lstrip('/')}") for path in modules)}
    assert named - there == set()
    assert len(named) > 50
