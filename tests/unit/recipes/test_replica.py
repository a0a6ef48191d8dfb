"""What a replica does on each event: joins, transfers, splits, deaths, lost sessions."""

from __future__ import annotations

import pytest

import rondo
from rondo.recipes.core import transfer, wire
from rondo.recipes.core.machine import Lost, Outcome
from rondo.recipes.core.replica import Replica
from tests.unit.recipes.world import Log, Process, World


def started(nodes: int = 3, *, provider: bool = True) -> tuple[World, list[Process]]:
    """A process on each node, and all have the state."""
    world = World(nodes, provider=provider)
    processes = [world.start(node, f"p{node}") for node in range(1, nodes + 1)]
    world.settle(2)
    assert all(process.replica.is_ready for process in processes)
    return world, processes


def test_commands_are_done_everywhere_in_one_order() -> None:
    world, (one, two, three) = started()
    numbers = [(process, process.do(f"{process.name} {n}")) for n in range(5) for process in (one, two, three)]
    world.settle()
    assert one.log.entries == two.log.entries == three.log.entries
    assert len(one.log.entries) == 15
    for process, number in numbers:
        assert process.outcomes[number].is_done
    failed = one.do("fail")
    world.settle()
    assert one.outcomes[failed] == Outcome(failed, False, b"ValueError: as asked for")


def test_who_joins_gets_the_state_while_commands_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PARTS_ON_THE_WAY_MAX", 1)
    world, (one, two) = started(2)
    for n in range(20):
        one.do(f"early {n}")
    world.settle()
    late = world.start(1, "late")
    for n in range(30):
        world.turn()
        two.do(f"during {n}")
    assert not late.replica.is_live or late.pieces() >= 10
    world.settle()
    assert late.log.entries == one.log.entries
    assert late.pieces() >= 10
    assert late.replica.is_ready


def test_the_deputy_goes_on_when_the_giver_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PARTS_ON_THE_WAY_MAX", 1)
    for how in ("process", "node"):
        world, (one, two, _three) = started()
        for n in range(200):
            two.do(f"early {n}")
        world.settle()
        late = world.start(3, "late")
        while late.pieces() < 30:
            world.turn()
        two.do("during")
        if how == "process":
            world.kill(one)
        else:
            world.loopback.kill_node(1)
        for _ in range(10):
            world.turn()
        world.settle(2)
        assert late.replica.is_ready
        assert late.log.entries == two.log.entries
        assert late.pieces() < 130, "it was not begun anew"


def test_the_side_without_quorum_does_nothing_and_catches_up() -> None:
    world, (one, two, three) = started()
    one.do("before")
    world.settle()
    world.loopback.partition({1}, {2, 3})
    world.settle(2)
    assert one.replica.is_without_quorum
    assert not one.replica.is_ready
    assert two.replica.is_ready
    alone, together = one.do("alone"), two.do("together")
    world.settle(2)
    assert together in two.outcomes
    assert alone not in one.outcomes
    assert "together" not in one.log.entries
    world.loopback.heal()
    world.settle(2)
    assert one.log.entries == two.log.entries == three.log.entries
    assert one.outcomes[alone].is_done
    assert one.log.entries.count("alone") == 1
    assert "gone p1" in one.log.entries


def test_without_votes_the_smaller_history_is_lost_and_told() -> None:
    world, (one, two, three) = started(provider=False)
    world.loopback.partition({1}, {2, 3})
    world.settle(2)
    acknowledged = one.do("mine")
    for n in range(3):
        two.do(f"theirs {n}")
    world.settle(2)
    assert acknowledged in one.outcomes
    world.loopback.heal()
    world.settle(2)
    assert one.log.entries == two.log.entries == three.log.entries
    assert "mine" not in one.log.entries
    (lost,) = [notice for notice in one.notices if isinstance(notice, Lost)]
    assert [command for _, _, command in lost.commands] == [b"mine"]
    one.replica.merge(lost.commands)
    two.replica.merge(lost.commands)
    one.finish_turn()
    two.finish_turn()
    world.settle(1)
    assert one.log.entries.count("mine") == two.log.entries.count("mine") == 1


def test_a_lost_session_loses_nothing_and_doubles_nothing() -> None:
    world, (one, two, _) = started()
    world.loopback.hold()
    first = one.do("first")
    world.loopback.disconnect(one.cluster)
    second = one.do("second")
    world.settle(1)
    assert not one.replica.is_ready
    world.loopback.reconnect(one.cluster)
    world.settle(2)
    assert one.outcomes[first].is_done
    assert one.outcomes[second].is_done
    assert [two.log.entries.count(each) for each in ("first", "second")] == [1, 1]
    assert one.log.entries == two.log.entries


def test_a_read_sees_what_was_done_before() -> None:
    world, (one, two, _) = started()
    two.do("done")
    world.settle()
    read = one.read()
    world.settle()
    assert one.reads[read] == two.log.entries
    world.loopback.partition({1}, {2, 3})
    cut_off = one.read()
    world.settle(2)
    assert cut_off not in one.outcomes
    world.loopback.heal()
    world.settle(2)
    assert one.reads[cut_off] == one.log.entries


def test_of_two_replicas_on_three_nodes_each_goes_on_without_the_other() -> None:
    for dead in (1, 2):
        world = World(3)
        processes = {node: world.start(node, f"p{node}") for node in (1, 2)}
        world.settle(2)
        world.loopback.kill_node(dead)
        world.settle(2)
        left = processes[3 - dead]
        number = left.do("goes on")
        world.settle()
        assert number in left.outcomes


def test_an_old_state_is_not_gone_on_with_while_a_later_one_may_come_back() -> None:
    """One is cut off; two goes on alone with a new process of node 1; then two is cut off and one is back."""
    world, (one, two, three) = started()
    world.kill(three)
    world.settle()
    world.loopback.partition({1}, {2, 3})
    world.settle(2)
    later = two.do("later")
    world.settle()
    assert later in two.outcomes
    world.loopback.partition({2}, {1, 3})
    world.settle(5)
    old = one.do("old")
    world.settle(5)
    assert old not in one.outcomes, "the state with 'later' is somewhere"
    world.loopback.heal()
    world.settle(3)
    assert one.log.entries == two.log.entries
    assert "later" in one.log.entries
    assert old in one.outcomes


def test_when_those_with_the_later_state_are_dead_for_good_the_old_one_goes_on() -> None:
    world, (one, two, three) = started()
    world.kill(three)
    world.settle()
    world.loopback.partition({1}, {2, 3})
    world.settle(2)
    two.do("later")
    world.settle()
    world.kill(two)
    world.loopback.heal()
    world.settle(2)
    assert not one.replica.is_ready
    world.settle(12)
    assert one.replica.is_ready


def test_what_is_no_message_of_a_replica_is_counted() -> None:
    world, (one, two, _) = started()
    good = wire.encode(wire.Done(b"x", (1, 2, 3)))
    for data in (b"", b"\xc1", b"\x90", good[:-1], good.replace(b"x", b"xy"), wire.encode(wire.Reads(b"x", 1))[:-2]):
        two.group.mcast(data)
    world.settle()
    assert one.replica.is_ready
    assert sum(one.replica.refused.values()) >= 5
    for kind in range(20):
        two.group.mcast(b"\x93\x01" + bytes([kind]) + b"\xc0")
    world.settle()
    assert one.replica.is_ready


def test_who_joins_with_a_late_word_of_quorum_takes_the_ring_from_who_goes_on() -> None:
    """It was alone on its node when it heard of quorum last, and nobody would say again that the group goes on."""
    ids = ((1, 10), (2, 20), (3, 30))
    replica = Replica(ids[2], b"c", Log())
    replica.quorum((3, 4), (3,), False, 0)
    members = tuple(rondo.Member(node, pid) for node, pid in ids)
    came = rondo.Change(members[2], rondo.Reason.JOIN)
    replica.handle(rondo.Membership("log", members, (came,), ()), 0)
    form = wire.Form(b"a", (1, 8), "same", ((4, 1, 9), 10, b"digest"), ((b"a", 1, 10, 1), (b"b", 2, 20, 1)), ids, 0)
    message = rondo.Message("log", members[0], wire.encode(form), rondo.Configuration.REGULAR, None)
    replica.handle(message, 0)
    assert not replica.refused
    asked = wire.decode(replica.outbox[-1])
    assert isinstance(asked, wire.Hello)
    assert asked.knows == (8, 1, 11), "the era that begins with what it was told"


def test_a_message_that_comes_again_is_done_once() -> None:
    world, (one, two, _) = started()
    first = one.do("first")
    world.settle()
    again = wire.encode(wire.Commands(b"p1", 99, 1, ((first, b"first"), (first + 1, b"second"))))
    one.group.mcast(again)
    one.group.mcast(again)
    world.settle()
    assert two.log.entries == ["first", "second"]
    one.do("over")  # its author waits for nothing below
    world.settle()
    one.group.mcast(wire.encode(wire.Commands(b"p1", 99, first + 2, ((first, b"first"),))))
    world.settle()
    assert two.log.entries.count("first") == 1
