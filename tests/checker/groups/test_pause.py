"""A10 asks of members only: who had left its group before it was frozen, and joins again after it, knows what is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.checker.base import Event
from tests.checker.groups.judge import check

OLD, WITHOUT = [1, 4], [2, 8]


def story(*, leaves: bool) -> list[Event]:
    """Process 101 of node 1 is frozen while node 2 forms a ring of its own, and then is given a new message."""
    events: list[Event] = []

    def add(ev: str, node: int | None = None, **fields: Any) -> None:
        event: Event = {"t": float(len(events)), "ev": ev, **fields}
        if node is not None:
            event |= {"proc": f"n{node}", "node": node, "pid": 100 + node, "group": "g"}
        else:
            event |= {"node": 1}
        events.append(event)

    for node in (1, 2):
        add("gstart", node)
        add("gjoin", node)
        joined = [[other, 100 + other] for other in range(1, node + 1)]
        add("gconf", node, members=joined, joined=[[node, 100 + node, "join"]], left=[])
        add("gring", node, ring=OLD, members=[1, 2])
    if leaves:
        add("gleave", 1)
        add("gconf", 1, members=[[2, 102]], joined=[], left=[[1, 101, "leave"]])
        add("gout", 1)
    add("freeze")
    add("gring", 2, ring=WITHOUT, members=[2])
    add("thaw")
    if leaves:
        add("gjoin", 1)
        add("gconf", 1, members=[[1, 101], [2, 102]], joined=[[1, 101, "join"]], left=[])
    add("gsend", 2, msg="n2/1", size=1, crc=0, level="agreed")
    add("gdeliver", 1, msg="n2/1", size=1, crc=0, sender=[2, 102], trans=False)
    return events


@pytest.mark.parametrize("leaves", [False, True])
def test_only_a_member_has_to_be_told(leaves: bool) -> None:
    assert bool(check(story(leaves=leaves), only=["A10"])) is not leaves
