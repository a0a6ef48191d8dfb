"""The map stats and the counts of messages: Corosync's names and types, made of what the services say."""

from __future__ import annotations

from typing import Any

from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Op
from services.control import message_counts
from services.control.requests import needed
from services.control.statistics import CLEARED, counted, statistics
from tests.unit.control.world import Host, World

LINK = {
    "link": 0, "local": "10.0.0.1", "remote": "10.0.0.2", "port": 5405, "up": True, "since_ms": 9, "mtu": 1409,
    "latency_us": 120, "latency_min_us": 90, "latency_max_us": 700, "latency_samples": 5,
    "priority": 1, "tx_data": 1, "tx_ping": 2, "tx_pong": 3, "tx_pmtu": 4, "tx_bytes": 5,
    "rx_data": 6, "rx_ping": 7, "rx_pong": 8, "rx_pmtu": 9, "rx_bytes": 10, "ups": 11, "downs": 12,
    "tx_errors": 13, "rx_errors": 14,
}  # fmt: skip
STATUSES: dict[str, dict[str, Any]] = {
    "totem": {
        "counters": {"mcast_tx": 50, "continuous_gather": 2, "word": "x"},
        "rotation_us": 2500,
        "token_age_ms": 17,
        "send_queue": {"packets": 4, "packets_max": 2974},
        "links": {"2": [LINK]},
        "schedule_misses": [[2000, 900.5], [1000, 850.0]],
    },
    "ipc_gateway": {
        "sessions": [
            {"session": "00aa", "pid": 7, "name": "bank", "requests": 9, "settled": 8, "event_blobs": 4},
        ],
        "counters": {"closed": 3},
    },
    "qb_gateway": {
        "connections": [
            {
                "service": "votequorum", "number": 31, "pid": 8, "program": "pacemakerd", "requests": 5, "responses": 4,
                "events": 2, "events_waiting": 1, "flow_control": True, "flow_stops": 6, "requests_invalid": 7,
                "writes_deferred": 8,
            }
        ],
        "counters": {"ended": 2},
    },
}  # fmt: skip


def test_keys_have_corosync_s_names_and_types() -> None:
    found = statistics(STATUSES, {})
    wanted = {
        "stats.srp.mcast_tx": [8, 50],
        "stats.srp.continuous_gather": [6, 2],
        "stats.srp.mtt_rx_token": [6, 2],
        "stats.knet.node2.link0.connected": [2, 1],
        "stats.pg.msg_queue_avail": [6, 2970],
        "stats.srp.time_since_token_last_received": [8, 17],
        "stats.knet.node2.link0.latency_ave": [6, 120],
        "stats.knet.node2.link0.latency_min": [6, 90],
        "stats.knet.node2.link0.latency_max": [6, 700],
        "stats.knet.node2.link0.latency_samples": [6, 5],
        "stats.knet.node2.link0.down_count": [6, 12],
        "stats.knet.node2.link0.rx_data_bytes": [8, 10],
        "stats.knet.node2.link0.tx_total_packets": [8, 10],
        "stats.knet.node2.link0.tx_total_errors": [8, 13],
        "stats.schedmiss.0.timestamp": [8, 2000],
        "stats.schedmiss.1.delay": [9, 850.0],
        "stats.ipcs.global.active": [8, 2],
        "stats.ipcs.global.closed": [8, 5],
        "stats.ipcs.service2.7.0x00aa.procname": [11, "bank"],
        "stats.ipcs.service2.7.0x00aa.dispatched": [8, 4],
        "stats.ipcs.service5.8.0x1f.procname": [11, "pacemakerd"],
        "stats.ipcs.service5.8.0x1f.responses": [8, 4],
        "stats.ipcs.service5.8.0x1f.queued": [6, 1],
        "stats.ipcs.service5.8.0x1f.queueing": [5, 1],
        "stats.ipcs.service5.8.0x1f.flow_control": [6, 1],
        "stats.ipcs.service5.8.0x1f.flow_control_count": [8, 6],
        "stats.ipcs.service5.8.0x1f.invalid_request": [8, 7],
        "stats.ipcs.service5.8.0x1f.send_retries": [8, 8],
        "stats.clear.all": [6, 0],
    }
    assert {key: found.get(key) for key in wanted} == wanted
    assert "stats.srp.word" not in found


def test_what_nobody_counts_has_no_key() -> None:
    silent = {"totem": {"links": {"2": [LINK | {"latency_samples": 0}]}}}
    assert not [key for key in statistics(silent, {}) if ".latency_" in key], "no ping has come back yet"
    found = statistics(STATUSES, {})
    absent = ("overload", "recv_retries", "msg_reserved", "avg_token_workload", "avg_backlog_calc")
    assert not [key for key in found if key.endswith(absent)]
    names = {key.rpartition(".")[2] for key in found if key.startswith("stats.ipcs.service2.")}
    assert names == {"procname", "requests", "responses", "dispatched", "sent"}


def test_who_does_not_answer_is_left_out() -> None:
    found = statistics({}, {})
    assert found["stats.ipcs.global.active"] == [8, 0]
    assert not [key for key in found if key.startswith("stats.srp.")]


def test_only_those_are_asked_whose_keys_are_wanted() -> None:
    assert needed(Op.KEYS, {"map": "stats", "prefix": "stats.knet.node2."}) == {"totem"}
    assert needed(Op.GET, {"map": "stats", "key": "stats.ipcs.global.active"}) == {"ipc_gateway", "qb_gateway"}
    assert needed(Op.KEYS, {"map": "stats", "prefix": ""}) == {"totem", "ipc_gateway", "qb_gateway"}
    assert needed(Op.KEYS, {"prefix": "runtime.services.cpg."}) == needed(Op.KEYS, {}) == {"cpg"}
    assert needed(Op.GET, {"key": "my.key"}) == needed(Op.SET, {"key": "runtime.services.x"}) == set()
    assert needed(Op.KEYS, {"prefix": 5}) == set()


def _ask(world: World, host: Host, op: Op, **arguments: Any) -> tuple[Code, Any]:
    number = host.send(op, **arguments)
    if host.machine.take_sources(world.now_ns):
        host.machine.answer_with(STATUSES | {"cpg": {"functions": [[1, 2], [3, 4]]}}, world.now_ns)
    host.pump()
    return host.answers.pop(number)


def test_what_is_cleared_of_clients_stays_cleared_when_the_ring_process_dies() -> None:
    world = World(1)
    world.form(1)
    host = world.hosts[1]
    assert _ask(world, host, Op.SET, map="stats", key="stats.clear.all", type=6, value=1)[0] == Code.OK
    kept = host.machine.core.reborn(0).cleared
    assert kept == {key: count for key, count in counted(STATUSES, "all").items() if key.startswith("stats.ipcs.")}
    assert kept


def test_what_is_cleared_is_counted_anew_also_by_a_new_control() -> None:
    world = World(1)
    world.form(1)
    host = world.hosts[1]
    assert counted(STATUSES, "knet").keys() == {
        key for key, (kind, _) in statistics(STATUSES, {}).items() if key.startswith("stats.knet.") and kind == 8
    }
    assert _ask(world, host, Op.SET, map="stats", key="stats.clear.all", type=6, value=1)[0] == Code.OK
    host.start()
    found = {key: value for key, _, value in _ask(world, host, Op.KEYS, map="stats", prefix="stats.")[1]}
    assert found["stats.srp.mcast_tx"] == found["stats.ipcs.global.closed"] == 0
    assert found["stats.srp.time_since_token_last_received"] == 17, "what is no count is not cleared"
    assert found["stats.knet.node2.link0.down_count"] == 12, "only what counts packets"
    assert not [key for key in found if key.startswith("stats.schedmiss.")]
    assert found["stats.ipcs.service2.7.0x00aa.requests"] == 9

    STATUSES["totem"]["counters"]["mcast_tx"] += 1
    try:
        assert _ask(world, host, Op.GET, map="stats", key="stats.srp.mcast_tx") == (Code.OK, [8, 1])
    finally:
        STATUSES["totem"]["counters"]["mcast_tx"] -= 1
    assert _ask(world, host, Op.SET, map="stats", key="stats.srp.mcast_tx", type=8, value=1)[0] == Code.NOT_SUPPORTED
    assert _ask(world, host, Op.SET, map="stats", key="stats.clear.more", type=8, value=1)[0] == Code.NOT_SUPPORTED
    assert CLEARED.keys() == {"totem", "knet", "ipc", "schedmiss", "all"}


def test_a_service_that_was_started_since_counts_from_nothing() -> None:
    cleared = counted(STATUSES, "totem")
    assert statistics(STATUSES, cleared)["stats.srp.mcast_tx"] == [8, 0]
    restarted = STATUSES | {"totem": STATUSES["totem"] | {"counters": {"mcast_tx": 3}}}
    assert statistics(restarted, cleared)["stats.srp.mcast_tx"] == [8, 3]


def test_messages_are_counted_by_service_and_function() -> None:
    world = World(1, 2)
    world.form(1, 2)
    host = world.hosts[1]
    found = {key: [kind, value] for key, kind, value in _ask(world, host, Op.KEYS, prefix="runtime.services.")[1]}
    assert found["runtime.services.cmap.0.rx"] == [8, 2], "both nodes have told their config_version"
    assert found["runtime.services.cmap.0.tx"] == [8, 1]
    assert found["runtime.services.votequorum.service_id"] == [4, 5]
    assert found["runtime.services.votequorum.0.rx"][1] > found["runtime.services.votequorum.0.tx"][1] > 0
    assert found["runtime.services.cpg.1.rx"] == [8, 4]
    assert found["runtime.services.cpg.1.tx"] == [8, 3]
    assert _ask(world, host, Op.GET, key="runtime.services.cpg.0.rx") == (Code.OK, [8, 2])
    assert _ask(world, host, Op.SET, key="runtime.services.cpg.0.rx", type=8, value=1)[0] == Code.ACCESS
    host.start()
    again = {key: [kind, value] for key, kind, value in _ask(world, host, Op.KEYS, prefix="runtime.services.")[1]}
    assert again == found, "a new control knows them"


def test_functions_that_nobody_has_are_not_counted() -> None:
    counts = message_counts.MessageCounts()
    counts.add(b"\xff\xff\x01\x00" + bytes(12), is_own=False)
    counts.add(b"\x00\x00\x09\x00" + bytes(12), is_own=False)
    assert counts.snapshot() == []
