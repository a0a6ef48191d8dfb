"""The sync and the groups, step by step, with the messages that C nodes send as well."""

from __future__ import annotations

from typing import Any

import pytest

from rondo.protocol import events as ev
from rondo.protocol import totem_reader
from rondo.protocol.batch import encode_batch, encode_body
from rondo.protocol.codes import Code
from rondo.protocol.events import Reason
from services.cpg import wire
from services.cpg.core import Core

JOIN, LEAVE, NODEDOWN, NODEUP, PROCDOWN = Reason.JOIN, Reason.LEAVE, Reason.NODEDOWN, Reason.NODEUP, Reason.PROCDOWN
SESSION, PID = 77, 7
Entry = list[Any]


def message(sender: int, data: bytes, tag: list[int] | None = None, *, transitional: bool = False) -> Entry:
    """A log entry."""
    return [totem_reader.MESSAGE, sender, tag, transitional, data]


def sync(ring: list[int], together: list[int], members: list[int], *messages: Entry) -> list[Entry]:
    """A ring change with the messages of its sync."""
    return [
        [totem_reader.TRANSITIONAL, [1, 0], ring, together, []],
        [totem_reader.REGULAR, ring, members, [], []],
        [totem_reader.SYNC_STEP, ring],
        *messages,
        [totem_reader.SYNC_ACTIVATE, ring],
        [totem_reader.SYNC_COMPLETE, ring],
    ]


def joinlist(sender: int, *entries: tuple[int, bytes]) -> Entry:
    """A node's JOINLIST."""
    return message(sender, wire.encode_join_lists(list(entries))[0])


@pytest.fixture
def core() -> Core:
    """Node 1 in a ring with node 2, where process 20 is in group g, and this node's session too."""
    core = Core(1)
    core.ring_listeners.add(SESSION)
    core.apply(sync([1, 4], [1], [1, 2], joinlist(2, (20, b"g"))))
    core.apply([message(1, wire.encode_proc_join(b"g", PID), [SESSION, 1, 0])])
    return core


def taken(core: Core) -> list[list[Any]]:
    """The session's events since the last call, without their positions."""
    return [event[1:] for event in core.out.pop(SESSION, [])]


def test_first_membership_is_the_own_join(core: Core) -> None:
    """B1: the first thing that a session hears of a group is that it joined, with all members."""
    assert taken(core) == [
        [ev.RING, 1, 4, [1, 2]],
        [ev.MEMBERSHIP, b"g", [(1, PID), (2, 20)], [(1, PID, JOIN)], [], 1],
    ]


def test_message_is_delivered_if_the_sending_node_has_a_member(core: Core) -> None:
    """As in Corosync: the process itself need not be one."""
    taken(core)
    core.apply([
        message(2, wire.encode_mcast(b"g", 2, 21, b"from a neighbour")[0]),
        message(3, wire.encode_mcast(b"g", 3, 30, b"from nowhere")[0]),
        message(1, wire.encode_mcast(b"g", 1, PID, b"own")[0], [SESSION, 2, 0]),
    ])  # fmt: skip
    assert taken(core) == [
        [ev.MESSAGE, b"g", 2, 21, False, b"from a neighbour", None],
        [ev.MESSAGE, b"g", 1, PID, False, b"own", 2],
    ]


def test_leaver_hears_of_its_leave_and_nothing_after(core: Core) -> None:
    """The leave confirmation names the request; what follows is not for this session."""
    taken(core)
    core.apply([
        message(1, wire.encode_proc_leave(b"g", PID, 2), [SESSION, 2, 0]),
        message(2, wire.encode_mcast(b"g", 2, 20, b"late")[0]),
    ])  # fmt: skip
    assert taken(core) == [[ev.MEMBERSHIP, b"g", [(2, 20)], [], [(1, PID, LEAVE)], 2]]


def test_requests_without_effect_fail_in_their_place(core: Core) -> None:
    """A second join, a second leave, a message after leaving: each is answered once, by number."""
    taken(core)
    core.apply([
        message(1, wire.encode_proc_join(b"g", PID), [SESSION, 2, 0]),
        message(1, wire.encode_proc_leave(b"g", PID, 2), [SESSION, 3, 0]),
        message(1, wire.encode_proc_leave(b"g", PID, 2), [SESSION, 4, 0]),
        message(1, wire.encode_mcast(b"g", 1, PID, b"x")[0], [SESSION, 5, 0]),
    ])  # fmt: skip
    events = taken(core)
    assert [e[1:] for e in events if e[0] == ev.FAILED] == [[2, Code.EXIST], [4, Code.NOT_EXIST], [5, Code.NOT_EXIST]]
    assert core.ordered == {SESSION: 5}


def test_activation_order(core: Core) -> None:
    """(a) nodedown, (b) nodeup, (c) procdown, (d) the ring - groups in the byte order of their names."""
    core.apply([
        message(2, wire.encode_proc_join(b"g", 21)),
        message(3, wire.encode_proc_join(b"g", 30)),
        message(1, wire.encode_proc_join(b"a\0z", PID), [SESSION, 2, 0]),
        message(3, wire.encode_proc_join(b"a\0z", 30)),
    ])  # fmt: skip
    taken(core)
    lists = [joinlist(2, (20, b"g")), joinlist(4, (40, b"g"), (41, b"g")), joinlist(1, (99, b"g"))]
    core.apply(sync([1, 8], [1, 2], [1, 2, 4], *lists))
    assert taken(core) == [
        [ev.MEMBERSHIP, b"a\0z", [(1, PID)], [], [(3, 30, NODEDOWN)], None],
        [ev.MEMBERSHIP, b"g", [(1, PID), (2, 20), (2, 21)], [], [(3, 30, NODEDOWN)], None],
        [ev.MEMBERSHIP, b"g", [(1, PID), (2, 20), (2, 21), (4, 40), (4, 41)],
         [(4, 40, NODEUP), (4, 41, NODEUP)], [], None],
        [ev.MEMBERSHIP, b"g", [(1, PID), (2, 20), (4, 40), (4, 41)], [], [(2, 21, PROCDOWN)], None],
        [ev.RING, 1, 8, [1, 2, 4]],
    ]  # fmt: skip


def test_node_that_went_and_came_back(core: Core) -> None:
    """A node that is in the new ring but did not stay with us is down, and then up."""
    taken(core)
    core.apply(sync([1, 8], [1], [1, 2], joinlist(2, (20, b"g"))))
    assert taken(core) == [
        [ev.MEMBERSHIP, b"g", [(1, PID)], [], [(2, 20, NODEDOWN)], None],
        [ev.MEMBERSHIP, b"g", [(1, PID), (2, 20)], [(2, 20, NODEUP)], [], None],
        [ev.RING, 1, 8, [1, 2]],
    ]


def test_joinlists_of_an_aborted_sync_do_not_count(core: Core) -> None:
    """No ghost: what was said in a sync that never completed is not believed later (the process may have died)."""
    taken(core)
    aborted = sync([1, 8], [1, 2], [1, 2, 4], joinlist(4, (40, b"g")), joinlist(2, (20, b"g"), (66, b"g")))[:-2]
    core.apply([*aborted, [totem_reader.SYNC_ABORT, [1, 8]], *sync([1, 12], [1, 2], [1, 2], joinlist(2, (20, b"g")))])
    assert taken(core) == [[ev.RING, 1, 12, [1, 2]]]


def test_what_an_aborted_sync_held_back_is_evaluated_in_the_next_ring(core: Core) -> None:
    """A join of node 2 and one of this node, both in ring 8 whose sync never completes. Ring 12 is without node 2."""
    taken(core)
    held = [
        message(2, wire.encode_proc_join(b"g", 21)),
        message(1, wire.encode_proc_join(b"h", PID), [SESSION, 2, 0]),
    ]
    core.apply([*sync([1, 8], [1, 2], [1, 2], *held)[:-2], [totem_reader.SYNC_ABORT, [1, 8]]])
    assert taken(core) == []
    core.sync_replies.clear()
    entries = sync([1, 12], [1], [1])
    core.apply(entries[:3])
    joinlists = [wire.decode(data) for data in core.sync_replies[0][1][1:]]
    assert joinlists == [wire.JoinList([(PID, b"g"), (PID, b"h")])]
    core.apply(entries[3:])
    assert [group.members for group in core.table] == [[(1, PID)], [(1, PID)]]
    assert taken(core)[-1] == [ev.RING, 1, 12, [1]]


def test_nothing_of_the_new_ring_before_its_sync_is_complete(core: Core) -> None:
    """B9: messages, joins and leaves wait for the end of the sync, and come in their order."""
    taken(core)
    early = [
        message(2, wire.encode_mcast(b"g", 2, 20, b"early")[0]),
        message(2, wire.encode_proc_leave(b"g", 20, 5)),
        joinlist(2, (20, b"g")),
    ]
    entries = sync([1, 8], [1, 2], [1, 2], *early)
    core.apply(entries[:-1])
    assert taken(core) == [[ev.RING, 1, 8, [1, 2]]]
    core.apply(entries[-1:])
    assert taken(core) == [
        [ev.MESSAGE, b"g", 2, 20, False, b"early", None],
        [ev.MEMBERSHIP, b"g", [(1, PID)], [], [(2, 20, PROCDOWN)], None],
    ]


def test_sync_step_names_all_processes_and_who_is_missed(core: Core) -> None:
    """DOWNLIST always; JOINLIST with this node's own processes only."""
    core.sync_replies.clear()
    core.apply(sync([1, 8], [1], [1])[:3])
    ((_, (downlist, own)),) = core.sync_replies
    assert wire.decode(downlist) == wire.DownList(2, [2])
    assert wire.decode(own) == wire.JoinList([(PID, b"g")])


def test_half_of_a_long_message_goes_with_its_sender(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """All or nothing: what a node that is gone left unfinished is dropped, and does not mix with its next life."""
    monkeypatch.setattr(wire, "PART_BYTES_MAX", 4)
    taken(core)
    parts = [message(2, part) for part in wire.encode_mcast(b"g", 2, 20, b"0123456789")]
    core.apply(parts[:2])
    core.apply(sync([1, 8], [1], [1, 2], joinlist(2, (20, b"g"))))
    core.apply([parts[2], *parts])
    assert [e[5] for e in taken(core) if e[0] == ev.MESSAGE] == [b"0123456789"]
    assert core.assembly.dropped == 1


def test_newcomers_get_the_parts_that_they_missed(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long message that is half ordered when a node joins is seen whole by that node too."""
    monkeypatch.setattr(wire, "PART_BYTES_MAX", 4)
    parts = wire.encode_mcast(b"g", 1, PID, b"0123456789")
    core.apply([message(1, part, [SESSION, 2, 2 - i]) for i, part in enumerate(parts[:2])])
    core.sync_replies.clear()
    core.apply(sync([1, 8], [1, 2], [1, 2, 3])[:3])
    again = core.sync_replies[0][1][2:]

    newcomer = Core(3)
    newcomer.apply(sync([1, 8], [3], [1, 2, 3], joinlist(1, (PID, b"g")), *[message(1, part) for part in again]))
    newcomer.apply([message(3, wire.encode_proc_join(b"g", 30), [5, 1, 0]), message(1, parts[2])])
    assert [bytes(e[6]) for e in newcomer.out[5] if e[1] == ev.MESSAGE] == [b"0123456789"]


def test_who_has_the_parts_ignores_that_they_are_said_again(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is given up, and the log keeps the parts that stood there first."""
    monkeypatch.setattr(wire, "PART_BYTES_MAX", 4)
    taken(core)
    parts = [message(2, part) for part in wire.encode_mcast(b"g", 2, 20, b"0123456789")]
    core.apply(parts[:2])
    needed = core.assembly.needed_at(core.n)
    again = [message(2, part) for part in wire.encode_parts_again(b"g", 2, 20, 10, b"01234567")]
    core.apply(sync([1, 8], [1, 2], [1, 2, 3], joinlist(2, (20, b"g")), *again))
    assert core.assembly.needed_at(core.n) == needed
    assert core.assembly.dropped == 0
    core.apply(parts[2:])
    assert [bytes(e[5]) for e in taken(core) if e[0] == ev.MESSAGE] == [b"0123456789"]


def test_a_node_that_leaves_hides_nobody_without_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """Node 3 leaves in the ring change that node 2's new cpg needs: node 2 has the long message whole all the same."""
    monkeypatch.setattr(wire, "PART_BYTES_MAX", 4)
    sender = Core(1)
    sender.apply(sync([1, 4], [1, 2, 3], [1, 2, 3], joinlist(1, (PID, b"g")), joinlist(3, (30, b"g"))))
    sender.apply([message(1, wire.encode_proc_join(b"g", PID), [SESSION, 1, 0])])
    parts = wire.encode_mcast(b"g", 1, PID, b"0123456789")
    sender.apply([message(1, part, [SESSION, 2, 2 - i]) for i, part in enumerate(parts[:2])])
    sender.sync_replies.clear()
    sender.apply(sync([1, 8], [1, 2], [1, 2])[:3])
    said = [message(1, part) for part in sender.sync_replies[0][1]]

    without_history = Core(2)
    without_history.apply(sync([1, 8], [1, 2], [1, 2], *said))
    without_history.apply([message(2, wire.encode_proc_join(b"g", 20), [5, 1, 0]), message(1, parts[2])])
    assert [bytes(e[6]) for e in without_history.out[5] if e[1] == ev.MESSAGE] == [b"0123456789"]


def test_garbage_from_other_nodes_changes_nothing(core: Core) -> None:
    """Half, foreign and lying messages are counted."""
    before = core.snapshot()
    taken(core)
    bad = [b"", b"\3\0\2\0", wire.encode_proc_join(b"g", 9)[:100], b"\0\0\5\0" + bytes(12)]
    lying = bytearray(wire.encode_mcast(b"g", 2, 20, b"abc")[0])
    lying[152] = 200
    core.apply([message(2, data) for data in [*bad, bytes(lying)]])
    assert (taken(core), core.snapshot(), core.malformed) == ([], before, 5)


def test_ring_changes_while_old_messages_are_delivered(core: Core) -> None:
    """What the transitional configuration delivers is told apart, and goes to the old membership."""
    taken(core)
    entries = sync([1, 8], [1], [1])
    entries.insert(1, message(2, wire.encode_mcast(b"g", 2, 20, b"last words")[0], transitional=True))
    core.apply(entries)
    assert taken(core)[0] == [ev.MESSAGE, b"g", 2, 20, True, b"last words", None]


def test_messages_and_bytes_are_counted_by_group(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of members on all nodes, batches too; in no snapshot, for not all nodes have seen the same ones."""
    monkeypatch.setattr(wire, "PART_BYTES_MAX", 4)
    before = core.snapshot()
    batch = encode_batch(b"g", 2, 20, 3, encode_body([b"1", b"22", b"333"]))
    parts = wire.encode_mcast(b"g", 2, 20, b"0123456789")
    stranger = wire.encode_mcast(b"g", 3, 30, b"not")[0]
    own = message(1, wire.encode_mcast(b"g", 1, PID, b"own")[0], [SESSION, 2, 0])
    core.apply([own, message(2, batch), *(message(2, part) for part in parts), message(3, stranger)])
    group = core.table.groups[b"g"]
    assert (group.messages, group.message_bytes) == (1 + 3 + 1, 3 + 6 + 10)
    assert core.snapshot() == before
