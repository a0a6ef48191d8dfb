"""The control service between totem and clients: what survives a kill, what is told when, what is refused."""

from __future__ import annotations

import random
from typing import Any

import pytest

import rondo
from rondo.protocol import control_gateway as gateway
from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import WATCH_S_MAX, Op
from rondo.protocol.envelope import BusError
from services.control.cmap.values import Type
from services.control.core import Core
from services.control.history import BYTES_MAX, EVENTS_MAX, History
from services.control.quorum.settings import Options
from tests.unit.control.ring import options
from tests.unit.control.world import GATEWAY, Host, World


def _world(*nodes: int, written: Options | None = None) -> World:
    world = World(*nodes, written=written)
    world.form(*nodes)
    return world


def _quorate(host: Host) -> bool:
    code, status = host.ask(Op.QUORUM)
    assert code == Code.OK
    return bool(status["quorate"])


def test_a_split_and_what_each_side_says() -> None:
    world = _world(1, 2, 3)
    world.form(1, 2)
    world.form(3)
    assert [_quorate(host) for host in world.hosts.values()] == [True, True, False]
    code, status = world.hosts[1].ask(Op.QUORUM)
    assert code == Code.OK
    nodes = status.pop("nodes")
    assert status == {
        "provider": "corosync_votequorum",
        "quorate": True,
        "ring": {"representative": 1, "sequence": 8},
        "node": 1,
        "expected_votes": 3,
        "highest_expected": 3,
        "total_votes": 2,
        "quorum": 2,
        "flags": ["quorate"],
    }
    assert [(node["node"], node["state"]) for node in nodes] == [(1, "member"), (2, "member"), (3, "dead")]


def test_a_change_is_told_once_it_is_safe() -> None:
    world = _world(1)
    host = world.hosts[1]
    number = host.send(Op.SET, key="my.key", type=int(Type.U8), value=1)
    host.machine.flush(world.now_ns)
    host.take_answers()
    assert number not in host.answers
    (frame,) = host.machine.to_totem
    host.reader.receive(frame)
    host.take_answers()
    assert number not in host.answers
    host.machine.to_totem.clear()
    host.pump()
    assert host.answers[number] == (Code.OK, None)


def test_keys_survive_a_kill_and_what_was_not_safe_was_told_to_nobody() -> None:
    world = _world(1)
    host = world.hosts[1]
    assert host.ask(Op.SET, key="my.key", type=int(Type.U8), value=1) == (Code.OK, None)
    lost = host.send(Op.SET, key="my.key", type=int(Type.U8), value=2)
    host.machine.flush(world.now_ns)
    host.start()
    assert lost not in host.answers
    assert host.ask(Op.GET, key="my.key") == (Code.OK, [2, 1])
    assert host.ask(Op.INCREMENT, key="my.key", step=5) == (Code.OK, [2, 6])


def test_keys_survive_the_ring_s_process_and_votes_begin_anew() -> None:
    world = _world(1, 2, written=options(two_node=True))
    host = world.hosts[1]
    host.ask(Op.SET, key="my.key", type=int(Type.STR), value="x")
    world.form(1)
    assert _quorate(host)
    host.epoch += 1
    host.reader = type(host.reader)(host.epoch, 1, 999)
    host.machine.totem_lost()
    host.pump()
    world.form(1)
    assert not _quorate(host), "it waits for all, as after a start"
    assert host.ask(Op.GET, key="my.key") == (Code.OK, [11, "x"])


def _watch(host: Host, of: str, after: int | None, **more: Any) -> tuple[Code, Any]:
    return host.ask(Op.WATCH, of=of, after=after, **more)


def test_a_watch_is_answered_when_there_is_something() -> None:
    world = _world(1, 2, 3)
    host = world.hosts[1]
    _, begin = _watch(host, "quorum", None)
    number = host.send(Op.WATCH, of="quorum", after=begin["number"])
    host.pump()
    assert number not in host.answers
    world.form(1)
    found: list[Any] = []
    while True:
        if number not in host.answers:
            break
        code, told = host.answers.pop(number)
        assert code == Code.OK
        found += told["events"]
        number = host.send(Op.WATCH, of="quorum", after=told["number"])
        host.pump()
    assert [event["event"] for event in found] == ["nodelist", "votes_nodelist", "quorum", "votes"]
    assert found[2] == {
        "number": begin["number"] + 3,
        "event": "quorum",
        "quorate": False,
        "ring": {"representative": 1, "sequence": 8},
        "members": [1],
        "position": found[2]["position"],
    }
    positions = [event["position"] for event in found]
    assert positions == sorted(positions)


def test_a_watch_of_keys_is_below_a_prefix() -> None:
    world = _world(1)
    host = world.hosts[1]
    _, begin = _watch(host, "keys", None)
    for key in ("a.1", "b.1", "a.2"):
        host.ask(Op.SET, key=key, type=2, value=1)
    host.ask(Op.DELETE, key="a.1")
    _, told = _watch(host, "keys", begin["number"], prefix="a.")
    assert [(event["key"], event["old"], event["new"]) for event in told["events"]] == [
        ("a.1", None, [2, 1]),
        ("a.2", None, [2, 1]),
        ("a.1", [2, 1], None),
    ]
    assert told["number"] == begin["number"] + 4


def test_a_watch_with_nothing_to_tell_ends_by_itself_and_with_its_gateway() -> None:
    world = _world(1)
    host = world.hosts[1]
    _, begin = _watch(host, "keys", None)
    number = host.send(Op.WATCH, of="keys", after=begin["number"])
    host.pump()
    world.now_ns += int(WATCH_S_MAX * 1e9)
    assert host.machine.next_deadline_ns() == world.now_ns
    host.pump()
    assert host.answers.pop(number) == (Code.OK, {"number": begin["number"], "events": [], "lost": False})
    host.send(Op.WATCH, of="keys", after=begin["number"])
    host.machine.gateway_gone(GATEWAY, world.now_ns)
    assert len(host.machine.watches) == 0


def test_who_was_away_too_long_is_told_so() -> None:
    world = _world(1)
    host = world.hosts[1]
    for value in range(EVENTS_MAX + 1):
        host.ask(Op.SET, key="my.key", type=6, value=value)
    now = _watch(host, "keys", None)[1]["number"]
    for after in (0, now + 1):
        assert _watch(host, "keys", after) == (Code.OK, {"number": now, "events": [], "lost": True})


def test_a_history_is_bounded_in_events_and_bytes() -> None:
    history = History()
    for _ in range(EVENTS_MAX + 5):
        history.add({}, 1)
    assert (history.number, history.floor) == (EVENTS_MAX + 5, 5)
    history.add({"big": 1}, BYTES_MAX + 1)
    assert list(history.after(0)) == [(EVENTS_MAX + 6, {"big": 1})]
    assert History.restore(history.snapshot()).snapshot() == history.snapshot()


@pytest.mark.parametrize(
    ("op", "arguments", "code"),
    [
        (Op.SET, {"key": "totem.transport", "type": 11, "value": "udp"}, Code.ACCESS),
        (Op.SET, {"key": "a", "type": 2, "value": 1}, Code.NAME_TOO_LONG),
        (Op.SET, {"key": "abc", "type": 2, "value": 256}, Code.INVALID_PARAM),
        (Op.SET, {"key": "abc", "type": 13, "value": 1}, Code.INVALID_PARAM),
        (Op.SET, {"key": 7, "type": 2, "value": 1}, Code.INVALID_PARAM),
        (Op.SET, {}, Code.INVALID_PARAM),
        (Op.SET, {"key": "runtime.blackbox.dump_state", "type": 11, "value": "1"}, Code.NOT_SUPPORTED),
        (Op.SET, {"key": "totem.token", "type": 6, "value": 1500}, Code.NOT_SUPPORTED),
        (Op.DELETE, {"key": "totem.token"}, Code.NOT_SUPPORTED),
        (Op.SET, {"key": "quorum.device.votes", "type": 6, "value": 1}, Code.NOT_SUPPORTED),
        (Op.SET, {"key": "quorum.provider", "type": 11, "value": "x"}, Code.NOT_SUPPORTED),
        (Op.SET, {"key": "quorum.expected_votes", "type": 2, "value": 2}, Code.INVALID_PARAM),
        (Op.SET, {"key": "quorum.cancel_wait_for_all", "type": 6, "value": 1}, Code.INVALID_PARAM),
        (Op.DELETE, {"key": "quorum.expected_votes"}, Code.NOT_SUPPORTED),
        (Op.SET, {"key": "resources.system.memory_used.max", "type": 5, "value": 90}, Code.NOT_SUPPORTED),
        (Op.SET, {"key": "resources.watchdog_timeout", "type": 6, "value": 10}, Code.NOT_SUPPORTED),
        (Op.SET, {"key": "abc", "type": 2, "value": 1, "map": "stats"}, Code.NOT_SUPPORTED),
        (Op.GET, {"key": "abc"}, Code.NOT_EXIST),
        (Op.DELETE, {"key": "abc"}, Code.NOT_EXIST),
        (Op.INCREMENT, {"key": "totem.transport", "step": 1}, Code.ACCESS),
        (Op.INCREMENT, {"key": "abc", "step": "1"}, Code.INVALID_PARAM),
        (Op.KEYS, {"map": "other"}, Code.NOT_EXIST),
        (Op.SET_EXPECTED, {"votes": 0}, Code.INVALID_PARAM),
        (Op.SET_EXPECTED, {"votes": 9}, Code.INVALID_PARAM),
        (Op.SET_VOTES, {"node": 9, "votes": 1}, Code.NOT_EXIST),
        (Op.SET_VOTES, {"node": 1, "votes": 256}, Code.INVALID_PARAM),
        (Op.WATCH, {"of": "weather"}, Code.INVALID_PARAM),
        (Op.WATCH, {"of": []}, Code.INVALID_PARAM),
        (Op.WATCH, {"of": {}}, Code.INVALID_PARAM),
        (Op.WATCH, {"of": "keys", "after": "x"}, Code.INVALID_PARAM),
        (99, {}, Code.NOT_SUPPORTED),
    ],
)
def test_refused(op: Op, arguments: dict[str, Any], code: Code) -> None:
    host = _world(1, 2).hosts[1]
    assert host.ask(op, **arguments)[0] == code


def test_without_a_provider_everybody_is_quorate_and_nothing_can_be_set() -> None:
    world = World(1, 2, has_provider=False)
    host = world.hosts[1]
    world.form(1, 2)
    code, status = host.ask(Op.QUORUM)
    assert (code, status["provider"], status["quorate"]) == (Code.OK, None, True)
    for op, arguments in (
        (Op.SET_EXPECTED, {"votes": 2}),
        (Op.CANCEL_WAIT_FOR_ALL, {}),
        (Op.SET, {"key": "quorum.expected_votes", "type": 6, "value": 2}),
    ):
        assert host.ask(op, **arguments)[0] == Code.NOT_EXIST


def test_keys_that_act() -> None:
    world = _world(1, 2, written=options(two_node=True))
    one, two = world.hosts[1], world.hosts[2]
    world.form(2)
    two.start()
    world.form(1)
    assert one.ask(Op.SET, key="quorum.cancel_wait_for_all", type=2, value=1) == (Code.OK, None)
    assert one.ask(Op.GET, key="quorum.cancel_wait_for_all") == (Code.OK, [2, 0])
    world.form(1, 2)
    assert one.ask(Op.SET, key="quorum.expected_votes", type=6, value=3) == (Code.OK, None)
    assert [host.ask(Op.QUORUM)[1]["expected_votes"] for host in (one, two)] == [3, 3]
    assert one.ask(Op.SET, key="quorum.expected_votes", type=6, value=300)[0] == Code.INVALID_PARAM
    assert one.ask(Op.GET, key="quorum.expected_votes") == (Code.OK, [6, 3])
    assert one.ask(Op.INCREMENT, key="quorum.expected_votes", step=1) == (Code.OK, [6, 4])
    assert [host.ask(Op.QUORUM)[1]["expected_votes"] for host in (one, two)] == [4, 4]
    assert one.ask(Op.INCREMENT, key="quorum.expected_votes", step=300)[0] == Code.INVALID_PARAM
    assert one.ask(Op.GET, key="quorum.expected_votes") == (Code.OK, [6, 4])


@pytest.mark.parametrize(("kind", "value", "forces"), [(11, "yes", True), (2, 1, True), (11, "no", False)])
def test_a_program_has_the_ring_formed_anew(kind: int, value: object, forces: bool) -> None:
    world = _world(1)
    host = world.hosts[1]
    assert not host.reader.reform_wanted
    number = host.send(Op.SET, key="runtime.force_gather", type=kind, value=value)
    assert not host.reader.reform_wanted, "with the commit, not before"
    host.pump()
    assert host.answers.pop(number) == (Code.OK, None)
    assert host.reader.reform_wanted == forces
    assert host.ask(Op.GET, key="runtime.force_gather") == (Code.OK, [11, "no"])
    world.form(1)
    host.ask(Op.SET, key="my.key", type=6, value=1)
    assert not host.reader.reform_wanted, "once"


def test_a_killed_control_does_not_have_the_ring_formed_anew_again() -> None:
    world = _world(1)
    host = world.hosts[1]
    host.ask(Op.SET, key="runtime.force_gather", type=11, value="yes")
    world.form(1)
    host.start()
    host.ask(Op.SET, key="my.key", type=6, value=1)
    assert not host.reader.reform_wanted


def test_who_leaves_in_order_takes_its_votes_along_unless_it_stays() -> None:
    world = _world(1, 2, 3, written=options(allow_downscale=True))
    one, three = world.hosts[1], world.hosts[3]

    def totals() -> tuple[int, int]:
        status = one.ask(Op.QUORUM)[1]
        return status["expected_votes"], status["total_votes"]

    assert three.machine.core.leave()
    three.pump()
    left_before = three.machine.core.has_left
    world.deliver()
    assert (left_before, three.machine.core.has_left) == (False, True)
    assert totals() == (2, 2)
    three.start()
    world.deliver()
    assert totals() == (3, 3)
    assert not _world(1).hosts[1].machine.core.leave(), "only with allow_downscale"


def test_members_are_keys() -> None:
    world = _world(1, 2)
    world.form(1)
    world.form(1, 2)
    world.form(1)
    found = {key: value for key, _, value in world.hosts[1].ask(Op.KEYS, prefix="runtime.members.2.")[1]}
    assert found == {
        "runtime.members.2.config_version": 0,
        "runtime.members.2.ip": "",
        "runtime.members.2.join_count": 2,
        "runtime.members.2.status": "left",
    }


def _versions(own: int, other: int) -> Core:
    world = World(1, 2, versions={1: own, 2: other})
    world.form(1, 2)
    return world.hosts[1].machine.core


@pytest.mark.parametrize(("own", "other"), [(7, 7), (9, 7), (0, 7), (7, 0)])
def test_who_has_no_older_configuration_stays(own: int, other: int) -> None:
    core = _versions(own, other)
    assert core.evict is None
    assert core.versions.told == {1: own, 2: other}


def test_who_is_behind_leaves_at_the_first_meeting() -> None:
    world = World(1, 2, versions={1: 6, 2: 7})
    reader = world.hosts[1].reader
    world.form(1)
    alone = reader.evicted
    world.form(1, 2)
    evicted = reader.evicted
    assert alone is None
    assert evicted is not None
    assert evicted.is_fault_of_configuration
    assert evicted.text.startswith("Received config version (7) is different than my config version (6)!")


def test_while_there_is_no_totem_clients_are_to_try_again() -> None:
    world = _world(1)
    host = world.hosts[1]
    host.machine.hello()
    number = host.send(Op.QUORUM)
    host.take_answers()
    assert host.answers[number][0] == Code.TRY_AGAIN


LINK = {
    "link": 0, "local": "10.0.0.1", "remote": "10.0.0.2", "port": 5405, "priority": 1, "up": True, "since_ms": 10,
    "ups": 4, "downs": 3, "mtu": 1397, "latency_us": 250, "tx_data": 1, "tx_ping": 2, "tx_pong": 3, "tx_pmtu": 4,
    "rx_data": 7, "rx_ping": 5, "rx_pong": 6, "rx_pmtu": 4, "tx_bytes": 98, "rx_bytes": 99, "tx_errors": 5,
    "rx_errors": 6,
}  # fmt: skip


def test_the_nodes_need_totem_s_status() -> None:
    world = _world(1, 2)
    host = world.hosts[1]
    numbers = [host.send(Op.NODES), host.send(Op.KEYS, map="stats", prefix="stats.srp.")]
    assert host.machine.take_sources(world.now_ns) == {"totem"}
    totem = {"rondo_members": [1], "counters": {"mcast_tx": 5}, "links": {}}
    host.machine.answer_with({"totem": totem}, world.now_ns)
    host.take_answers()
    code, nodes = host.answers[numbers[0]]
    assert code == Code.OK
    assert [(node["node"], node["member"], node["software"]) for node in nodes][1] == (
        2,
        True,
        f"rondo {rondo.__version__}",
    )
    assert host.answers[numbers[1]] == (Code.OK, [["stats.srp.mcast_tx", 8, 5]])
    number = host.send(Op.NODES)
    host.machine.take_sources(world.now_ns)
    host.machine.answer_with({"totem": {"rondo_members": [1], "links": {"2": [LINK]}}}, world.now_ns)
    host.take_answers()
    (shown,) = host.answers[number][1][1]["links"]
    assert (shown["tx_packets"], shown["rx_packets"], shown["rx_data_bytes"], shown["tx_errors"]) == (10, 22, 99, 5)
    assert (shown["up"], shown["since_ms"], shown["ups"], shown["downs"], shown["port"]) == (True, 10, 4, 3, 5405)
    number = host.send(Op.NODES)
    host.machine.take_sources(world.now_ns)
    host.machine.answer_with({}, world.now_ns)
    host.take_answers()
    assert host.answers[number][0] == Code.TRY_AGAIN


@pytest.mark.parametrize("frame", [b"", b"\xc1", gateway.encode(gateway.Answer(0, b"", 1, 1, b""))])
def test_what_is_no_request_is_refused(frame: bytes) -> None:
    host = _world(1).hosts[1]
    with pytest.raises(BusError):
        host.machine.receive_gateway(GATEWAY, frame, 0)


def test_a_request_that_cannot_be_read_is_answered() -> None:
    host = _world(1).hosts[1]
    host.machine.receive_gateway(GATEWAY, gateway.encode(gateway.Ask(0, b"client", 77, b"\xc1")), 0)
    host.take_answers()
    assert host.answers[77][0] == Code.MESSAGE_ERROR


class _Watcher:
    """A client that counts its notifications."""

    def __init__(self, host: Host, of: str) -> None:
        self.host = host
        self.of = of
        self.events: list[Any] = []
        self.after = _watch(host, of, None)[1]["number"]
        self.number = 0

    def look(self) -> None:
        while True:
            if self.number in self.host.answers:
                code, told = self.host.answers.pop(self.number)
                assert code == Code.OK
                assert not told["lost"]
                self.events += told["events"]
                self.after = told["number"]
                self.number = 0
            if self.number:
                return
            self.number = self.host.send(Op.WATCH, of=self.of, after=self.after)
            self.host.pump()


def _live(seed: int, *, kills: bool) -> tuple[list[Any], list[Any], bytes]:
    """A cluster's life; with kills of one node's control. What a client there was told, and the state at the end."""
    rng, killer = random.Random(seed), random.Random(seed + 1)
    world = _world(1, 2, 3)
    host = world.hosts[1]
    watchers = [_Watcher(host, "quorum"), _Watcher(host, "keys")]
    for step in range(60):
        what = rng.randrange(5)
        if what == 0:
            world.form(1, *rng.sample((2, 3), rng.randrange(3)), until_step=rng.choice((0, 1, 2, 9, 9)))
        elif what == 1:
            world.hosts[rng.choice((1, 2))].ask(Op.SET_EXPECTED, votes=rng.choice((2, 3, 4)))
        else:
            host.ask(Op.SET, key=f"my.{rng.randrange(3)}", type=6, value=step)
        for watcher in watchers:
            watcher.look()
        if kills and killer.random() < 0.5:
            if killer.random() < 0.5:
                # In the middle of something that nobody will ever hear of.
                host.send(Op.SET, key="my.lost", type=6, value=step)
                host.machine.flush(world.now_ns)
            host.start()
            for watcher in watchers:
                watcher.number = 0
                watcher.look()
    return watchers[0].events, watchers[1].events, host.machine.core.snapshot()


@pytest.mark.parametrize("seed", range(8))
def test_kills_change_nothing_that_anybody_sees(seed: int) -> None:
    plain, killed = _live(seed, kills=False), _live(seed, kills=True)
    assert killed[0] == plain[0]
    assert killed[1] == plain[1]
    assert killed[2] == plain[2]
    assert len(plain[0]) >= 10
