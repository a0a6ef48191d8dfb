"""The map `stats`: counters of this node's services, under Corosync's names.

Nothing is kept here. The services are asked when a client reads the map; one that does not answer is left out. A
`stats.clear.*` does not reset the services' counters. The value at that moment is subtracted when a client reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from services.control.cmap.values import Type
from services.control.message_counts import CPG, NAMES

Found = dict[str, list[Any]]
"""`[type, value]` by key."""
Statuses = Mapping[str, Mapping[str, Any]]
"""Statuses of services, by name."""

PG, SRP, KNET, IPCS = "stats.pg.", "stats.srp.", "stats.knet.", "stats.ipcs."
SCHEDULE = "stats.schedmiss."
SOURCES: dict[str, tuple[str, ...]] = {
    PG: ("totem",),
    SRP: ("totem",),
    KNET: ("totem",),
    SCHEDULE: ("totem",),
    IPCS: ("ipc_gateway", "qb_gateway"),
}
"""The services to ask, by the prefix of the keys."""
CLEAR = "stats.clear."
CLEARED: dict[str, tuple[str, ...]] = {
    "totem": (PG, SRP),
    "knet": (KNET,),
    "ipc": (IPCS,),
    "schedmiss": (SCHEDULE,),
    "all": (PG, SRP, KNET, IPCS, SCHEDULE),
}
"""The prefixes that each key of `stats.clear.` clears."""
_NOT_COUNTED = (SCHEDULE, f"{IPCS}service", f"{SRP}time_since_")
_IDS = {name: number for number, name in NAMES.items()}
_U8, _I32, _U32, _U64 = (int(each) for each in (Type.U8, Type.I32, Type.U32, Type.U64))
_FLT, _STR = int(Type.FLT), int(Type.STR)
_LINK = (
    ("connected", _U8, "up"), ("mtu", _U32, "mtu"),
    ("up_count", _U32, "ups"), ("down_count", _U32, "downs"),
    ("rx_data_bytes", _U64, "rx_bytes"), ("rx_data_packets", _U64, "rx_data"), ("rx_ping_packets", _U64, "rx_ping"),
    ("rx_pmtu_packets", _U64, "rx_pmtu"), ("rx_pong_packets", _U64, "rx_pong"),
    ("tx_data_bytes", _U64, "tx_bytes"), ("tx_data_packets", _U64, "tx_data"), ("tx_ping_packets", _U64, "tx_ping"),
    ("tx_pmtu_packets", _U64, "tx_pmtu"), ("tx_pong_packets", _U64, "tx_pong"),
    ("tx_total_errors", _U64, "tx_errors"),
)  # fmt: skip
_LATENCIES = (
    ("latency_min", "latency_min_us"), ("latency_max", "latency_max_us"), ("latency_ave", "latency_us"),
    ("latency_samples", "latency_samples"),
)  # fmt: skip
_KINDS_OF_PACKETS = ("data", "ping", "pmtu", "pong")


def touches(prefix: str, keys: str) -> bool:
    """Whether keys with the prefix `keys` may be among those with the prefix `prefix`."""
    return prefix.startswith(keys) or keys.startswith(prefix)


def sources(prefix: str) -> set[str]:
    """The services to ask for keys of this map with this prefix."""
    return {name for keys, names in SOURCES.items() if touches(prefix, keys) for name in names}


def statistics(statuses: Statuses, cleared: Mapping[str, int]) -> Found:
    """All keys of the map. `cleared`: the counters at the last `stats.clear.*`."""
    found: Found = {f"{CLEAR}{name}": [_U32, 0] for name in CLEARED}
    totem = statuses.get("totem", {})
    found |= dict(_ring(totem))
    found |= dict(_links(totem))
    found |= dict(_connections(statuses.get("ipc_gateway", {}), statuses.get("qb_gateway", {})))
    for key, before in cleared.items():
        if key in found and found[key][1] >= before:
            found[key] = [found[key][0], found[key][1] - before]
    return found | _misses(totem, cleared.get(SCHEDULE, 0))


def counted(statuses: Statuses, name: str) -> dict[str, int]:
    """The present counters that `stats.clear.NAME` clears, for `cleared`. Of programs, which come and go, only the
    number of closed connections is cleared."""
    found = {
        key: int(value)
        for key, (kind, value) in statistics(statuses, {}).items()
        if kind == _U64 and key.startswith(CLEARED[name]) and not key.startswith(_NOT_COUNTED)
    }
    misses = statuses.get("totem", {}).get("schedule_misses", ())
    return found | ({SCHEDULE: misses[0][0]} if misses and SCHEDULE in CLEARED[name] else {})


def _ring(totem: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    for name, value in totem.get("counters", {}).items():
        if type(value) is int:
            yield f"{SRP}{name}", [_U32 if name == "continuous_gather" else _U64, value]
    if "rotation_us" in totem:
        yield f"{SRP}mtt_rx_token", [_U32, totem["rotation_us"] // 1000]
    if "token_age_ms" in totem:
        yield f"{SRP}time_since_token_last_received", [_U64, totem["token_age_ms"]]
    if "send_queue" in totem:
        queue = totem["send_queue"]
        yield f"{PG}msg_queue_avail", [_U32, max(0, queue["packets_max"] - queue["packets"])]


def _links(totem: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    for node, links in totem.get("links", {}).items():
        for link in links:
            below = f"{KNET}node{node}.link{link['link']}."
            yield f"{below}enabled", [_U8, 1]
            for name, kind, of in _LINK:
                yield below + name, [kind, int(link.get(of, 0))]
            for name, of in _LATENCIES if link.get("latency_samples") else ():
                yield below + name, [_U32, int(link[of])]
            for way in ("rx", "tx"):
                total = sum(int(link.get(f"{way}_{kind}", 0)) for kind in _KINDS_OF_PACKETS)
                yield f"{below}{way}_total_packets", [_U64, total]


def _misses(totem: Mapping[str, Any], before_ms: int) -> Found:
    """Times when the ring process was scheduled too late. The latest one has number 0."""
    found: Found = {}
    misses = [each for each in totem.get("schedule_misses", ()) if each[0] > before_ms]
    for number, (at_ms, late_ms) in enumerate(misses):
        found[f"{SCHEDULE}{number}.timestamp"] = [_U64, at_ms]
        found[f"{SCHEDULE}{number}.delay"] = [_FLT, late_ms]
    return found


def _connections(ours: Mapping[str, Any], c: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """Programs. Rondo's own clients are listed under cpg, with their session in place of the pointer."""
    sessions, connections = ours.get("sessions", ()), c.get("connections", ())
    closed = ours.get("counters", {}).get("closed", 0) + c.get("counters", {}).get("ended", 0)
    yield f"{IPCS}global.active", [_U64, len(sessions) + len(connections)]
    yield f"{IPCS}global.closed", [_U64, closed]
    for each in sessions:
        below = f"{IPCS}service{CPG}.{each['pid']}.0x{each['session']}."
        yield from _program(below, each["name"], each["requests"], each["settled"], each["event_blobs"])
    for each in connections:
        below = f"{IPCS}service{_IDS[each['service']]}.{each['pid']}.0x{each['number']:x}."
        yield from _program(below, each["program"], each["requests"], each["responses"], each["events"])
        yield f"{below}queued", [_U32, each["events_waiting"]]
        yield f"{below}queueing", [_I32, int(each["events_waiting"] > 0)]
        yield f"{below}flow_control", [_U32, int(each["flow_control"])]
        yield f"{below}flow_control_count", [_U64, each["flow_stops"]]
        yield f"{below}invalid_request", [_U64, each["requests_invalid"]]
        yield f"{below}send_retries", [_U64, each["writes_deferred"]]


def _program(
    below: str, program: str, requests: int, responses: int, dispatched: int
) -> Iterator[tuple[str, list[Any]]]:
    yield f"{below}procname", [_STR, program]
    yield f"{below}requests", [_U64, requests]
    yield f"{below}responses", [_U64, responses]
    yield f"{below}dispatched", [_U64, dispatched]
    yield f"{below}sent", [_U32, dispatched & 0xFFFFFFFF]
