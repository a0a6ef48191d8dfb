"""Statistics that are tracked: all clients are answered from one look at the services, taken seldom enough."""

from __future__ import annotations

from typing import Any

from rondo.protocol import control_gateway as gateway
from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Op, changes_between
from services.control.machine import ANSWERS_MAX
from services.control.samples import SAMPLE_S
from tests.unit.control.world import GATEWAY, Host, World

SAMPLE_NS = int(SAMPLE_S * 1e9)


def _world() -> tuple[World, Host]:
    world = World(1)
    world.form(1)
    return world, world.hosts[1]


def _sample(host: Host, **counters: int) -> int:
    """Take the sample that is due; how many clients were answered."""
    assert host.machine.take_sources(host.world.now_ns)
    host.machine.answer_with({"totem": {"counters": counters}}, host.world.now_ns)
    before = len(host.answers)
    host.take_answers()
    return len(host.answers) - before


def test_all_who_ask_are_answered_by_one_sample_and_the_next_one_waits() -> None:
    world, host = _world()
    number = host.send(Op.SAMPLE, prefix="stats.srp.mcast")
    assert _sample(host, mcast_tx=1, orf_token_tx=2) == 1
    assert host.answers[number] == (Code.OK, [["stats.srp.mcast_tx", 8, 1]])
    numbers = [host.send(Op.SAMPLE, prefix="stats.srp.") for _ in range(100)]
    assert host.machine.take_sources(world.now_ns) == set()
    due_ns = host.machine.next_deadline_ns()
    assert due_ns == world.now_ns + SAMPLE_NS
    world.now_ns = due_ns - 1
    assert host.machine.take_sources(world.now_ns) == set()
    world.now_ns = due_ns
    assert _sample(host, mcast_tx=4) == 100
    assert [host.answers[each] for each in numbers] == [(Code.OK, [["stats.srp.mcast_tx", 8, 4]])] * 100


def test_while_services_are_asked_nothing_is_due() -> None:
    """Else the loop would not sleep until they answer."""
    world, host = _world()
    host.send(Op.SAMPLE, prefix="stats.srp.")
    assert host.machine.take_sources(world.now_ns) == {"totem"}
    host.send(Op.SAMPLE, prefix="stats.srp.")
    world.now_ns += 2 * SAMPLE_NS
    assert host.machine.next_deadline_ns() is None
    host.machine.answer_with({"totem": {}}, world.now_ns)
    assert host.machine.next_deadline_ns() is not None


def test_what_can_never_be_there_waits_for_its_turn_too() -> None:
    world, host = _world()
    numbers = [host.send(Op.SAMPLE, prefix="my."), host.send(Op.SAMPLE, prefix=7)]
    assert _sample(host) == 2
    assert [host.answers[each][0] for each in numbers] == [Code.OK, Code.INVALID_PARAM]
    host.send(Op.SAMPLE, prefix="my.")
    assert host.machine.take_sources(world.now_ns) == set()


def test_who_is_gone_is_not_waited_for_and_many_are_told_to_come_again() -> None:
    world, host = _world()
    _answer_first(host)
    host.send(Op.SAMPLE, prefix="stats.")
    host.machine.receive_gateway(GATEWAY, gateway.encode(gateway.Forget(0, b"client")), world.now_ns)
    assert len(host.machine.samples) == 0
    numbers = [host.send(Op.SAMPLE, prefix="stats.") for _ in range(ANSWERS_MAX + 1)]
    host.take_answers()
    assert host.answers[numbers[-1]][0] == Code.TRY_AGAIN
    assert numbers[-2] not in host.answers
    host.machine.gateway_gone(GATEWAY, world.now_ns)
    assert len(host.machine.samples) == 0


def _answer_first(host: Host) -> None:
    """The next sample is not due then."""
    host.send(Op.SAMPLE, prefix="stats.")
    _sample(host)


def test_two_samples_make_changes() -> None:
    before: dict[str, list[Any]] = {"a": [8, 1], "b": [8, 2], "c": [8, 3]}
    now: dict[str, list[Any]] = {"b": [8, 2], "c": [8, 4], "d": [8, 5]}
    assert changes_between(before, now) == [
        {"key": "a", "old": [8, 1], "new": None},
        {"key": "c", "old": [8, 3], "new": [8, 4]},
        {"key": "d", "old": None, "new": [8, 5]},
    ]
