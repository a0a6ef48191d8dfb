"""Metrics of process groups and of their clients."""

from __future__ import annotations

from typing import Any

from rondo.metrics.metric import Kind, Metric, Values
from rondo.metrics.seen import Seen

GROUPS_MAX = 256

GROUPS = Metric("rondo_cpg_groups", Kind.GAUGE, "Groups that have members, anywhere")
GROUP_MEMBERS = Metric(
    "rondo_cpg_group_members", Kind.GAUGE, f"Members of a group, on all nodes; of {GROUPS_MAX} groups at most",
    ("group",), GROUPS_MAX,
)  # fmt: skip
GROUP_MESSAGES = Metric(
    "rondo_cpg_group_messages_total", Kind.COUNTER,
    f"Messages that members of a group on all nodes have sent to it; of {GROUPS_MAX} groups at most",
    ("group",), GROUPS_MAX,
)  # fmt: skip
GROUP_BYTES = Metric(
    "rondo_cpg_group_message_bytes_total", Kind.COUNTER, f"What was in these messages; of {GROUPS_MAX} groups at most",
    ("group",), GROUPS_MAX,
)  # fmt: skip
FUNCTIONS = {
    "procjoin": "joins", "procleave": "leaves", "joinlist": "who is in which group, in a new ring",
    "mcast": "messages, or batches of them", "downlist_old": "of old versions", "downlist": "of old versions",
    "partial_mcast": "parts of long messages",
}  # fmt: skip
"""In the order of their numbers."""
RING_MESSAGES = Metric(
    "rondo_cpg_ring_messages_total", Kind.COUNTER, "Messages of cpg by sender (own: this node, all) and function",
    ("sender", "function"), 2 * len(FUNCTIONS), FUNCTIONS,
)  # fmt: skip
USERS_MAX = 16
USER_BYTES = Metric(
    "rondo_cpg_user_bytes", Kind.GAUGE, "What waits for or from the sessions of a user, of those who have the most",
    ("uid", "of"), 2 * USERS_MAX, {"queued": "requests that are not ordered yet", "events": "events not taken yet"},
)  # fmt: skip
SESSIONS = Metric("rondo_cpg_sessions", Kind.GAUGE, "Clients of this node, as cpg knows them")
HELD_BYTES = Metric("rondo_cpg_held_bytes", Kind.GAUGE, "Messages that some client of this node has not taken yet")
LAG = Metric(
    "rondo_cpg_unacknowledged_entries",
    Kind.GAUGE,
    "Entries of totem's log that cpg has evaluated and may not forget yet",
)
CLIENTS = Metric(
    "rondo_gateway_clients", Kind.GAUGE, "Clients on ZeroMQ", ("connected",), 2,
    {"yes": "with a connection", "no": "whose connection broke, and who may come back"},
)  # fmt: skip
BACKLOG = Metric(
    "rondo_gateway_backlog_bytes", Kind.GAUGE, "What was sent to clients and not taken by them", ("of",), 2,
    {"all": "all clients", "worst": "the client that is furthest behind"},
)  # fmt: skip
LEVELS = {
    "connections": "connections on the local socket",
    "silent_connections": "those that have said nothing yet",
    "half_frame_bytes": "bytes of envelopes that have not come whole",
    "unread_bytes": "bytes that clients have not read",
    "outbox_bytes": "bytes that wait for clients",
    "remote_connections": "connections over TCP that have shown a key",
    "remote_unproven": "connections over TCP that have not",
}
"""What stands among the gateway's counters and goes up and down."""
LEVEL = Metric("rondo_gateway_level", Kind.GAUGE, "What the gateway has to bear now", ("of",), len(LEVELS), LEVELS)
C_PROGRAMS = Metric(
    "rondo_qb_connections", Kind.GAUGE, "Connections of C programs by service", ("service",), 16,
)  # fmt: skip
C_STOPPED = Metric("rondo_qb_flow_controlled", Kind.GAUGE, "Connections of C programs that are told to wait")
C_BACKLOG = Metric("rondo_qb_events_waiting", Kind.GAUGE, "Events that C programs have not taken yet")

METRICS = (
    GROUPS, GROUP_MEMBERS, GROUP_MESSAGES, GROUP_BYTES, RING_MESSAGES, USER_BYTES, SESSIONS, HELD_BYTES, LAG, CLIENTS,
    BACKLOG, LEVEL, C_PROGRAMS, C_STOPPED, C_BACKLOG,
)  # fmt: skip


def collect(seen: Seen, values: Values) -> None:
    """The metrics of groups, of clients, and of C programs."""
    if (cpg := seen.answers.get("cpg")) is not None:
        _groups(cpg, values)
    if (gateway := seen.answers.get("ipc_gateway")) is not None:
        sessions = gateway["sessions"]
        connected = sum(each["connected"] for each in sessions)
        values.set(CLIENTS, connected, "yes")
        values.set(CLIENTS, len(sessions) - connected, "no")
        for name in LEVELS:
            values.set(LEVEL, gateway["counters"].get(name), name)
        backlogs = [each["in_flight_bytes"] for each in sessions]
        values.set(BACKLOG, sum(backlogs), "all")
        values.set(BACKLOG, max(backlogs, default=0), "worst")
    if (qb := seen.answers.get("qb_gateway")) is not None:
        counts: dict[str, int] = {}
        for each in qb["connections"]:
            counts[each["service"]] = counts.get(each["service"], 0) + 1
        for service, count in counts.items():
            values.set(C_PROGRAMS, count, service)
        values.set(C_STOPPED, sum(each["flow_control"] for each in qb["connections"]))
        values.set(C_BACKLOG, sum(each["events_waiting"] for each in qb["connections"]))


def _groups(cpg: dict[str, Any], values: Values) -> None:
    values.set(GROUPS, len(cpg["groups"]))
    for group in cpg["groups"]:
        values.set(GROUP_MEMBERS, len(group["members"]), group["group"])
        values.set(GROUP_MESSAGES, group.get("messages"), group["group"])
        values.set(GROUP_BYTES, group.get("message_bytes"), group["group"])
    for function, (own, every) in zip(FUNCTIONS, cpg["functions"], strict=False):
        values.set(RING_MESSAGES, own, "own", function)
        values.set(RING_MESSAGES, every, "all", function)
    for user in cpg["users"][:USERS_MAX]:
        values.set(USER_BYTES, user["queued_bytes"], user["uid"], "queued")
        values.set(USER_BYTES, user["event_bytes"], user["uid"], "events")
    values.set(SESSIONS, cpg["sessions"])
    values.set(HELD_BYTES, cpg["held_bytes"])
    values.set(LAG, max(0, cpg["position"] - cpg["acked"]))
