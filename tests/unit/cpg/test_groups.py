"""The table of groups keeps its order, its packed form and each session's groups up to date with every change."""

from __future__ import annotations

import random
import statistics
import time

import msgpack
import pytest

from rondo.protocol.requests import HIDDEN_PREFIX
from services.cpg.groups import GroupTable

NODE = 1
MANY = 16_000
NAMES = [b"", b"a", b"a\0b", b"a\0", b"a!", b"b\0a", b"b", HIDDEN_PREFIX + b"1", bytes([0xFF] * 127)]


def in_order(name: bytes) -> tuple[bytes, bytes]:
    """As C strings compare, and then the rest."""
    return name.split(b"\0")[0], name


def table_of(count: int) -> GroupTable:
    table = GroupTable()
    for number in range(count):
        name = b"group-%05d" % (number * 7919 % count)
        group = table.add(name, (NODE, number % 60))
        assert group is not None
        table.admit(group, 1000 + number % 60, number % 60)
    return table


@pytest.mark.parametrize("seed", range(5))
def test_whatever_changes_the_packed_table_is_that_of_its_groups(seed: int) -> None:
    draw, table = random.Random(seed), GroupTable()
    true: dict[bytes, dict[tuple[int, int], set[int]]] = {}
    for _ in range(400):
        name, node, pid = draw.choice(NAMES), draw.randint(1, 2), draw.randint(1, 3)
        member = (node, pid)
        if draw.random() < 0.6:
            group = table.add(name, member)
            assert (group is None) == (member in true.get(name, {}))
            if group is not None:
                sessions = true.setdefault(name, {})[member] = set()
                if node == NODE:
                    sessions.add(pid + 100)
                    table.admit(group, pid + 100, pid)
        else:
            group = table.remove(name, member)
            assert (group is None) == (member not in true.get(name, {}))
            if group is not None:
                del true[name][member]
                if node == NODE:
                    table.dismiss(group, pid)
        names = sorted((name for name in true if true[name]), key=in_order)
        assert [group.name for group in table] == names
        rows: list[list[object]] = [[each, [list(m) for m in sorted(true[each])]] for each in names]
        local = [sorted([s, m[1]] for m in true[each] for s in true[each][m]) for each in names]
        whole = [[*row, own] for row, own in zip(rows, local, strict=True)]
        assert msgpack.unpackb(table.snapshot()) == whole
        assert msgpack.unpackb(table.listing(hidden=True)) == rows
        shown = [row for name, row in zip(names, rows, strict=True) if not name.startswith(HIDDEN_PREFIX)]
        assert msgpack.unpackb(table.listing(hidden=False)) == shown
        for session in (101, 102, 103):
            own_pid = session - 100
            assert table.of_session(session) == {each: own_pid for each in names if (NODE, own_pid) in true[each]}
    again = GroupTable.restore(msgpack.unpackb(table.snapshot()))
    assert again.snapshot() == table.snapshot()
    assert all(again.of_session(session) == table.of_session(session) for session in (101, 102, 103))


def test_a_change_among_many_groups_does_not_pack_all_of_them() -> None:
    """Times of the processor in pairs, so that others on the machine do not count."""
    table, shares = table_of(MANY), []
    for number in range(5):
        for group in table:
            group.changed()
        began_s = time.process_time()
        table.snapshot()
        table.listing(hidden=True)
        whole_s = time.process_time() - began_s
        table.add(b"group-00007", (2, number))
        began_s = time.process_time()
        table.snapshot()
        table.listing(hidden=True)
        assert len(table.of_session(1007)) in (MANY // 60, MANY // 60 + 1)
        shares.append((time.process_time() - began_s) / whole_s)
    assert statistics.median(shares) < 0.5, shares
