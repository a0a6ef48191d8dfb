"""cfg: nodes that are killed, and nodes that stop because nobody objects."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from rondo.protocol import control_gateway as gateway
from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import WATCH_S_MAX, Op
from services.control.cfg import wire
from services.control.cfg.shutdown import GATHER_NS, REQUEST, RETURN_NS, TRACKERS_MAX, Place, Shutdowns
from services.control.cmap.values import Type
from services.control.machine import Machine
from tests.unit.control.world import GATEWAY, Host, World

TIMEOUT_NS = 5_000_000_000


def _world(*nodes: int) -> World:
    """A ring whose control processes have run for long."""
    world = World(*nodes)
    world.form(*nodes)
    world.now_ns += GATHER_NS
    return world


def test_the_messages_are_those_of_corosync() -> None:
    kill = wire.encode_kill(3, "disk")
    assert len(kill) == 288
    assert struct.unpack_from("<i4xi4xI4xH6x4s", kill) == (1 << 16 | 1, 288, 3, 4, b"disk")
    assert kill[36:] == bytes(252)
    assert wire.decode(kill) == wire.KillNode(3, "disk")
    assert wire.encode_shutdown() == struct.pack("<i4xi4x", 1 << 16 | 2, 16)
    assert wire.decode(wire.encode_shutdown()) == wire.Shutdown()
    assert wire.decode(struct.pack("<i4xi4x16x", 1 << 16, 32)) is None


def test_a_reason_is_cut_between_characters() -> None:
    decoded = wire.decode(wire.encode_kill(3, "ä" * 200))
    assert decoded == wire.KillNode(3, "ä" * 127)


@pytest.mark.parametrize("length", [0, 15, 16, 287])
def test_what_is_too_short_is_no_message(length: int) -> None:
    with pytest.raises(wire.MalformedError):
        wire.decode(wire.encode_kill(3, "")[:length])
    world = _world(1)
    world.hosts[1].machine.core.apply([[900, [0, 1, False, wire.encode_kill(1, "")[: max(16, length)]]]], 0)
    assert world.hosts[1].machine.core.ignored["malformed"] == 1


def test_the_node_that_is_named_leaves_and_all_note_why() -> None:
    world = _world(1, 2, 3)
    assert world.hosts[1].ask(Op.KILL, node=3, reason="its disk is full") == (Code.OK, None)
    evicted = world.hosts[3].reader.evicted
    assert evicted is not None
    assert (evicted.is_fault_of_configuration, evicted.text) == (False, "Killed by node 1: its disk is full")
    assert world.hosts[1].reader.evicted is world.hosts[2].reader.evicted is None
    for host in world.hosts.values():
        assert host.machine.core.notices[-1] == "Node 3 is killed by node 1: its disk is full"


@pytest.mark.parametrize("node", [2, 9])
def test_only_members_are_killed(node: int) -> None:
    world = World(1, 2)
    world.form(1)
    assert world.hosts[1].ask(Op.KILL, node=node)[0] == Code.NOT_EXIST
    assert world.hosts[1].ask(Op.KILL, node="2")[0] == Code.INVALID_PARAM


def test_a_control_that_dies_before_it_can_say_so_has_its_successor_say_it() -> None:
    world = _world(1, 2)
    host = world.hosts[2]
    host.reader.message(host.position(), 1, wire.encode_kill(2, ""))
    frame = host.reader.next_frame()
    assert frame is not None
    host.machine.receive_totem(frame, world.now_ns)
    host.machine.flush(world.now_ns)
    # The commit is delivered, and nothing after it.
    host.reader.receive(host.machine.to_totem.popleft())
    assert host.machine.to_totem
    host.start()
    assert host.reader.evicted is not None


class Program:
    """A program that tracks shutdowns; each has a connection of its own."""

    def __init__(self, world: World, node: int, name: str) -> None:
        self.world, self.host, self.name = world, world.hosts[node], name
        self.after = 0
        self.number = 0

    def ask(self, op: Op, **arguments: Any) -> int:
        number = next(self.world.numbers)
        blob = gateway.encode_request(op, arguments)
        ask = gateway.encode(gateway.Ask(0, self.name.encode(), number, blob))
        self.host.machine.receive_gateway(GATEWAY, ask, self.world.now_ns)
        self.host.pump()
        self.world.deliver()
        return number

    def track(self) -> None:
        self.number = self.ask(Op.TRACK_SHUTDOWN, tracker=self.name, after=self.after)

    def told(self) -> str | None:
        """The event that it was told since it asked; None if there was none."""
        if self.number not in self.host.answers:
            return None
        code, news = self.host.answers.pop(self.number)
        assert code == Code.OK
        self.after = news["number"]
        return str(news["event"])

    def vote(self, agrees: bool) -> Code:
        return self.host.answers.pop(self.ask(Op.VOTE_ON_SHUTDOWN, tracker=self.name, agrees=agrees))[0]

    def shut_down(self, flags: int = 0) -> int:
        return self.ask(Op.SHUTDOWN, flags=flags, tracker=self.name)

    def hang_up(self) -> None:
        self.host.machine.receive_gateway(
            GATEWAY, gateway.encode(gateway.Forget(0, self.name.encode())), self.world.now_ns
        )
        self.host.pump()
        self.world.deliver()


def _tracked(*names: str) -> tuple[World, Host, list[Program]]:
    world = _world(1, 2)
    programs = [Program(world, 1, name) for name in names]
    for program in programs:
        program.track()
    return world, world.hosts[1], programs


def _is_at_end(host: Host) -> bool:
    return host.machine.is_at_end


def test_with_nobody_to_ask_the_node_stops_once_the_ring_has_ordered_it() -> None:
    world = _world(1, 2)
    host = world.hosts[1]
    number = host.send(Op.SHUTDOWN)
    host.pump()
    assert host.answers.pop(number) == (Code.OK, None)
    assert not _is_at_end(host)
    world.deliver()
    assert _is_at_end(host)
    assert not _is_at_end(world.hosts[2])
    host.start()
    assert _is_at_end(host), "its successor stops, too"


def test_who_objects_keeps_the_node() -> None:
    _, host, (one, two) = _tracked("one", "two")
    request = one.shut_down()
    assert one.told() is None, "who asks for it is not asked"
    assert two.told() == "asked"
    assert request not in host.answers
    assert two.vote(False) == Code.OK
    assert host.answers.pop(request)[0] == Code.BUSY
    assert two.vote(True) == Code.ACCESS
    assert not _is_at_end(host)


def test_all_have_to_agree() -> None:
    _, host, (one, two, three) = _tracked("one", "two", "three")
    request = one.shut_down()
    assert two.vote(True) == Code.OK
    assert one.shut_down() in host.answers
    assert request not in host.answers
    assert three.vote(True) == Code.OK
    assert host.answers.pop(request)[0] == Code.OK
    assert _is_at_end(host)


def test_one_objection_is_enough_whatever_is_said_after_it() -> None:
    _, host, (one, two, three) = _tracked("one", "two", "three")
    request = one.shut_down()
    two.vote(False)
    three.vote(True)
    assert host.answers.pop(request)[0] == Code.BUSY
    assert not _is_at_end(host)


def test_one_at_a_time() -> None:
    _, host, (one, two) = _tracked("one", "two")
    one.shut_down()
    assert host.answers.pop(two.shut_down())[0] == Code.EXIST


def test_objections_are_not_heeded_with_flag_1_and_nobody_is_asked_with_2() -> None:
    _, host, (one, two) = _tracked("one", "two")
    request = one.shut_down(1)
    two.vote(False)
    assert host.answers.pop(request)[0] == Code.OK
    _, host, (one, two) = _tracked("one", "two")
    assert host.answers.pop(one.shut_down(2))[0] == Code.OK
    assert two.told() is None


def test_silence_is_an_objection_and_all_are_told() -> None:
    world, host, (one, two) = _tracked("one", "two")
    request = one.shut_down()
    assert two.told() == "asked"
    two.track()
    world.now_ns += TIMEOUT_NS - 1
    host.pump()
    assert request not in host.answers
    world.now_ns += 1
    host.pump()
    assert host.answers.pop(request)[0] == Code.BUSY
    assert two.told() == "timeout"
    assert one.told() == "timeout"


def test_the_key_says_how_long() -> None:
    world, host, (one, _) = _tracked("one", "two")
    host.ask(Op.SET, key="cfg.shutdown_timeout", type=int(Type.U32), value=100)
    request = one.shut_down()
    world.now_ns += 100_000_000
    host.pump()
    assert host.answers.pop(request)[0] == Code.BUSY


@pytest.mark.parametrize("by", ["hang_up", "untrack", "away"])
def test_who_goes_does_not_object(by: str) -> None:
    world, host, (one, two) = _tracked("one", "two")
    host.ask(Op.SET, key="cfg.shutdown_timeout", type=int(Type.U32), value=60_000)
    request = one.shut_down()
    assert two.told() == "asked"
    if by == "hang_up":
        two.hang_up()
    elif by == "untrack":
        two.ask(Op.UNTRACK_SHUTDOWN, tracker="two")
    else:
        world.now_ns += RETURN_NS
        host.pump()
    assert host.answers.pop(request)[0] == Code.OK


def test_who_asked_and_goes_takes_the_request_along() -> None:
    _, host, (one, two) = _tracked("one", "two")
    one.shut_down()
    one.hang_up()
    assert two.vote(True) == Code.ACCESS
    assert not _is_at_end(host)


def test_a_tracker_whose_gateway_was_killed_is_the_same_one_on_the_next() -> None:
    world, host, (one, two) = _tracked("one", "two")
    host.machine.gateway_gone(GATEWAY, world.now_ns)
    one.track()
    request = one.shut_down()
    two.track()
    assert two.told() == "asked"
    assert two.vote(False) == Code.OK
    assert host.answers.pop(request)[0] == Code.BUSY


def test_a_tracker_that_asks_again_is_not_told_twice_and_not_forgotten() -> None:
    world, host, (one, two) = _tracked("one", "two")
    one.shut_down()
    assert two.told() == "asked"
    two.track()
    assert two.told() is None
    world.now_ns += TIMEOUT_NS
    host.pump()
    assert two.told() == "timeout"
    two.track()
    world.now_ns += int(WATCH_S_MAX * 1e9)
    host.pump()
    assert two.told() == "none"


def test_a_new_process_asks_to_wait_until_trackers_have_come_back() -> None:
    world, host, (one, two) = _tracked("one", "two")
    host.start()
    assert host.answers.pop(one.shut_down())[0] == Code.TRY_AGAIN
    two.track()
    world.now_ns += GATHER_NS
    request = one.shut_down()
    assert request not in host.answers
    assert two.told() == "asked"


def test_trackers_are_bounded() -> None:
    world = _world(1)
    for number in range(TRACKERS_MAX):
        Program(world, 1, f"t{number}").track()
    late = Program(world, 1, "late")
    late.track()
    assert world.hosts[1].answers.pop(late.number)[0] == Code.TRY_AGAIN


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        (Op.TRACK_SHUTDOWN, {}),
        (Op.TRACK_SHUTDOWN, {"tracker": "x" * 65}),
        (Op.TRACK_SHUTDOWN, {"tracker": "x", "after": -1}),
        (Op.VOTE_ON_SHUTDOWN, {"tracker": "x", "agrees": 1}),
        (Op.SHUTDOWN, {"flags": 3}),
        (Op.SHUTDOWN, {"flags": True}),
    ],
)
def test_wrong_arguments_are_refused(op: Op, arguments: dict[str, Any]) -> None:
    assert _world(1).hosts[1].ask(op, **arguments)[0] == Code.INVALID_PARAM


def test_logs_are_opened_anew_by_the_caller() -> None:
    host = _world(1).hosts[1]
    machine: Machine = host.machine
    assert host.ask(Op.REOPEN_LOGS) == (Code.OK, None)
    assert machine.reopen_logs


def test_numbers_of_events_grow_over_the_lives_of_control() -> None:
    """A tracker asks the next control for what comes after the event that it had of the last one."""
    told: list[int] = []

    def live(now_ns: int, after: int) -> int:
        def answer(place: Place, _code: Code, result: Any) -> None:
            if place[1] == b"tracker":
                told.append(result["number"])

        shutdowns = Shutdowns(answer)
        shutdowns.begin(now_ns - GATHER_NS)
        shutdowns.track((b"gateway", b"tracker", 1), "tracker", after, now_ns)
        shutdowns.ask((b"gateway", b"asker", 1), REQUEST, "", 5000, now_ns)
        return told.pop()

    first = live(10**12, 0)
    assert live(10**12 + 1, first) > first
