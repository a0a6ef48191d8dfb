"""Metrics of the ring: totem's state, its traffic, what it refused, the links of knet."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Any

from rondo.metrics.metric import NODES_MAX, PLACES_KEPT_MAX, Histogram, Key, Kind, Metric, Values, key_of
from rondo.metrics.processes import ABSENT
from rondo.metrics.seen import Seen

STATES = {
    "operational": "it is in a ring",
    "gather": "it looks for nodes to form a ring with",
    "commit": "the members of a new ring are agreed on",
    "recovery": "members exchange what they have of the ring before",
    "isolated": "it has no address to reach others from",
}
FRAMES = {
    "token": "the token",
    "data": "packets with messages",
    "merge_detect": "signs of this ring for others",
    "join": "proposals of a membership",
    "commit_token": "the token that commits a ring",
    "hold_cancel": "a wish for the token of an idle ring",
}
_LINK = ("node", "link")
_LINKS_MAX = 8 * NODES_MAX

STATE = Metric(
    "rondo_totem_state", Kind.GAUGE, "1 for the state that the ring process is in, 0 for the others", ("state",), 8,
    STATES,
)  # fmt: skip
SYNCING = Metric("rondo_totem_syncing", Kind.GAUGE, "1 while the services of a new ring are brought in step")
MEMBERS = Metric("rondo_totem_members", Kind.GAUGE, "Members of the ring")
RONDO_MEMBERS = Metric("rondo_totem_rondo_members", Kind.GAUGE, "Members that are Rondo nodes")
SEQUENCE = Metric(
    "rondo_totem_ring_sequence", Kind.GAUGE, "Sequence of the ring's identifier; it grows from ring to ring"
)
REPRESENTATIVE = Metric("rondo_totem_representative_node", Kind.GAUGE, "Node id of the ring's representative")
ROTATIONS = Metric(
    "rondo_totem_rotation_seconds", Kind.HISTOGRAM, "How long the token took to come round, held tokens left out"
)
ROTATION_WORST = Metric(
    "rondo_totem_rotation_worst_seconds", Kind.GAUGE, "The longest rotation since the ring process was started"
)
ROTATION_SMOOTHED = Metric(
    "rondo_totem_rotation_smoothed_seconds", Kind.GAUGE, "The time of a rotation that the retransmit timer is set by"
)
TOKEN_TIMEOUT = Metric("rondo_totem_token_timeout_seconds", Kind.GAUGE, "After so long a token counts as lost")
TOKEN_AGE = Metric(
    "rondo_totem_token_age_seconds", Kind.GAUGE, "How long ago the token was here; that of an idle ring rests a while"
)
SENT = Metric("rondo_totem_frames_sent_total", Kind.COUNTER, "Frames sent", ("kind",), 8, FRAMES)
RECEIVED = Metric("rondo_totem_frames_received_total", Kind.COUNTER, "Frames received", ("kind",), 8, FRAMES)
BYTES_SENT = Metric(
    "rondo_totem_frame_bytes_sent_total", Kind.COUNTER,
    "Bytes of the frames sent, each counted once however many nodes it goes to, before encryption and headers",
)  # fmt: skip
BYTES_RECEIVED = Metric("rondo_totem_frame_bytes_received_total", Kind.COUNTER, "Bytes of the frames received")
MESSAGES_SENT = Metric("rondo_totem_messages_sent_total", Kind.COUNTER, "Messages of this node that were sent")
MESSAGES_DELIVERED = Metric(
    "rondo_totem_messages_delivered_total", Kind.COUNTER, "Messages that were delivered in order"
)
RETRANSMITTED = Metric(
    "rondo_totem_retransmitted_total", Kind.COUNTER, "Frames that this node has sent again", ("kind",), 2,
    {"data": "packets that somebody asked for", "token": "tokens that the next member may not have got"},
)  # fmt: skip
RETRANSMITTED_BY_NODE = Metric(
    "rondo_totem_retransmitted_by_node_total", Kind.COUNTER,
    "The same by node: whose packets were lost somewhere, and to whom tokens were sent again", ("node", "kind"),
    2 * NODES_MAX, {"data": "packets of that node", "token": "tokens to that node"},
)  # fmt: skip
DUPLICATES = Metric(
    "rondo_totem_duplicates_total", Kind.COUNTER, "Frames that came although they were here", ("kind",), 2,
    {"data": "packets with messages", "token": "tokens"},
)  # fmt: skip
ENTERED = Metric(
    "rondo_totem_state_entered_total", Kind.COUNTER, "How often a state was entered: a new ring passes all of them",
    ("state",), 4, {name: STATES[name] for name in ("operational", "gather", "commit", "recovery")},
)  # fmt: skip
TOKEN_LOSSES = Metric(
    "rondo_totem_token_losses_total", Kind.COUNTER, "Tokens that did not come within the token time-out", ("state",), 4,
    {name: STATES[name] for name in ("operational", "gather", "commit", "recovery")},
)  # fmt: skip
CONSENSUS = Metric(
    "rondo_totem_consensus_timeouts_total", Kind.COUNTER, "Members that had to be given up for want of consensus"
)
REFORMING = Metric("rondo_totem_gathers_in_a_row", Kind.GAUGE, "How often in a row a ring was sought and not found")
REFUSED = Metric(
    "rondo_totem_refused_total", Kind.COUNTER,
    "Frames and datagrams that were refused; security_: by packet security, knet_: by knet, rx_: by the transport",
    ("reason",), 128,
)  # fmt: skip
KERNEL_DROPS = Metric(
    "rondo_totem_kernel_drops_total",
    Kind.COUNTER,
    "Datagrams that the kernel dropped because the receive buffer was full",
)
NOT_SCHEDULED = Metric(
    "rondo_totem_schedule_misses_total",
    Kind.COUNTER,
    "How often the process was not scheduled for most of the token time-out",
)
BRAKES = Metric(
    "rondo_totem_backpressure_pauses_total", Kind.COUNTER, "How often the ring was held up because cpg does not keep up"
)
WINDOW = Metric("rondo_totem_window_packets", Kind.GAUGE, "Packets that all may send in a rotation")
WINDOW_OWN = Metric("rondo_totem_window_own_packets", Kind.GAUGE, "Packets that one node may send in a rotation")
SEND_QUEUE = Metric("rondo_totem_send_queue_packets", Kind.GAUGE, "Packets of this node that wait for the token")
SEND_QUEUE_MAX = Metric("rondo_totem_send_queue_limit_packets", Kind.GAUGE, "So many may wait")
ACCELERATED = Metric("rondo_totem_accelerated", Kind.GAUGE, "1 if the token is passed on before the packets")
PROTECTED = Metric("rondo_totem_protected", Kind.GAUGE, "1 if packets between nodes are sealed with a key")
KEYS_VALID = Metric("rondo_totem_keys", Kind.GAUGE, "Keys whose packets are taken: more than one while it is changed")
FORWARD_SECRECY = Metric("rondo_totem_forward_secrecy", Kind.GAUGE, "1 if the present ring is forward secret")
AWAKE = Metric(
    "rondo_totem_processors_awake", Kind.GAUGE, "1 while processors are kept from sleeping (system.low_latency)"
)
LOG_ENTRIES = Metric(
    "rondo_totem_log_unacknowledged_entries", Kind.GAUGE, "Entries of totem's log that cpg may still ask for"
)
LOG_BYTES = Metric(
    "rondo_totem_log_bytes", Kind.GAUGE, "What waits in totem for a reader of its log", ("reader",), 2,
    {"cpg": "messages to groups", "control": "messages of quorum and keys"},
)  # fmt: skip
STRANGERS = Metric(
    "rondo_totem_strangers", Kind.GAUGE, "Senders from which packets were refused within the last minute"
)
PATHS_BAD = Metric(
    "rondo_totem_path_bad", Kind.GAUGE, "1 if the way to a node loses large packets or multicast", ("node",), NODES_MAX
)
PORT_CLOSED = Metric(
    "rondo_totem_port_closed", Kind.GAUGE, "1 for each node on whose port nobody listens; no series for others",
    ("node",), NODES_MAX,
)  # fmt: skip
LINK_UP = Metric("rondo_link_up", Kind.GAUGE, "1 if a link of knet is up", _LINK, _LINKS_MAX)
LINK_MTU = Metric("rondo_link_mtu_bytes", Kind.GAUGE, "Largest datagram that a link carries", _LINK, _LINKS_MAX)
LINK_LATENCY = Metric(
    "rondo_link_latency_seconds", Kind.GAUGE, "Smoothed time of a ping over a link", _LINK, _LINKS_MAX
)
LINK_DOWNS = Metric("rondo_link_downs_total", Kind.COUNTER, "How often a link went down", _LINK, _LINKS_MAX)
LINK_ERRORS = Metric(
    "rondo_link_errors_total", Kind.COUNTER, "Packets of a link that came to nothing", (*_LINK, "direction"),
    2 * _LINKS_MAX, {"sent": "the kernel did not send it", "received": "it was refused"},
)  # fmt: skip
LINK_BYTES = Metric(
    "rondo_link_bytes_total", Kind.COUNTER, "Bytes of data over a link", (*_LINK, "direction"), 2 * _LINKS_MAX,
    {"sent": "from this node", "received": "to this node"},
)  # fmt: skip
LINK_PACKETS = Metric(
    "rondo_link_packets_total", Kind.COUNTER, "Packets over a link", (*_LINK, "direction", "kind"), 8 * _LINKS_MAX,
    {"data": "fragments of frames", "ping": "pings", "pong": "their answers", "pmtu": "probes of the MTU"},
)  # fmt: skip

METRICS = (
    STATE, SYNCING, MEMBERS, RONDO_MEMBERS, SEQUENCE, REPRESENTATIVE, ROTATIONS, ROTATION_WORST, ROTATION_SMOOTHED,
    TOKEN_TIMEOUT, TOKEN_AGE, SENT, RECEIVED, BYTES_SENT, BYTES_RECEIVED, MESSAGES_SENT, MESSAGES_DELIVERED,
    RETRANSMITTED, RETRANSMITTED_BY_NODE, DUPLICATES, ENTERED, TOKEN_LOSSES,
    CONSENSUS, REFORMING, REFUSED, KERNEL_DROPS, NOT_SCHEDULED, BRAKES, WINDOW, WINDOW_OWN, SEND_QUEUE, SEND_QUEUE_MAX,
    ACCELERATED, PROTECTED, KEYS_VALID, FORWARD_SECRECY, AWAKE, LOG_ENTRIES, LOG_BYTES, STRANGERS, PATHS_BAD,
    PORT_CLOSED, LINK_UP, LINK_MTU, LINK_LATENCY, LINK_DOWNS, LINK_ERRORS, LINK_BYTES, LINK_PACKETS,
)  # fmt: skip

COUNTED: dict[str, tuple[Metric, *tuple[str, ...]]] = {
    "orf_token_tx": (SENT, "token"),
    "orf_token_rx": (RECEIVED, "token"),
    "mcast_tx": (SENT, "data"),
    "mcast_rx": (RECEIVED, "data"),
    "memb_merge_detect_tx": (SENT, "merge_detect"),
    "memb_merge_detect_rx": (RECEIVED, "merge_detect"),
    "memb_join_tx": (SENT, "join"),
    "memb_join_rx": (RECEIVED, "join"),
    "memb_commit_token_tx": (SENT, "commit_token"),
    "memb_commit_token_rx": (RECEIVED, "commit_token"),
    "token_hold_cancel_tx": (SENT, "hold_cancel"),
    "token_hold_cancel_rx": (RECEIVED, "hold_cancel"),
    "frame_bytes_tx": (BYTES_SENT,),
    "frame_bytes_rx": (BYTES_RECEIVED,),
    "messages_tx": (MESSAGES_SENT,),
    "messages_rx": (MESSAGES_DELIVERED,),
    "mcast_retx": (RETRANSMITTED, "data"),
    "token_retransmitted": (RETRANSMITTED, "token"),
    "mcast_duplicate_rx": (DUPLICATES, "data"),
    "token_duplicate_rx": (DUPLICATES, "token"),
    **{f"{state}_entered": (ENTERED, state) for state in ENTERED.values},
    **{f"{state}_token_lost": (TOKEN_LOSSES, state) for state in TOKEN_LOSSES.values},
    "consensus_timeouts": (CONSENSUS,),
    "continuous_gather": (REFORMING,),
    "rx_dropped_by_kernel": (KERNEL_DROPS,),
}
"""Counters of totem that have a metric of their own."""

PARTS_OF_OTHERS = ("rx_msg_dropped",)
"""Sums of what is counted by reason."""

REFUSALS = ("rx_", "knet_rx_", "security_")
"""Counters whose names begin so are reasons of `rondo_totem_refused_total`."""

NO_REFUSALS = (
    "rx_turn_ended", "knet_rx_copies", "security_challenges_sent", "security_challenges_answered",
    "security_answers_withheld", "security_stale_answers", "security_boots_accepted",
)  # fmt: skip
"""Except these: nothing was refused."""


def is_refusal(counter: str) -> bool:
    """True if a counter of totem counts packets that were refused for one reason."""
    return counter.startswith(REFUSALS) and counter not in NO_REFUSALS


def collect(seen: Seen, values: Values) -> None:
    """The metrics of the ring and of its links."""
    totem = seen.answers.get("totem")
    if totem is None:
        return
    for each in totem["absent"]:
        values.set(ABSENT, time.time() - each["seconds"], each["node"])
    for state in STATES:
        values.set(STATE, int(totem["state"] == state), state)
    values.set(SYNCING, int(totem["syncing"]))
    values.set(MEMBERS, len(totem["members"]))
    values.set(RONDO_MEMBERS, len(totem["rondo_members"]))
    values.set(SEQUENCE, totem["ring"]["sequence"])
    values.set(REPRESENTATIVE, totem["ring"]["representative"])
    values.set(TOKEN_AGE, totem["token_age_ms"] / 1000)
    _flow(totem, values)
    values.set(NOT_SCHEDULED, totem["not_scheduled"])
    values.set(BRAKES, totem["brake_pauses"])
    values.set(STRANGERS, len(totem["strangers"]))
    for node, path in totem["paths"].items():
        values.set(PATHS_BAD, int(path["path"] not in ("good", "unknown")), node)
    for node in totem["deaf"]:
        values.set(PORT_CLOSED, 1, node)
    if seen.config is not None:
        values.set(TOKEN_TIMEOUT, seen.config.token_timeout_ms / 1000)
    _rotations(totem, values)
    _counters(totem, values)
    for node, links in totem["links"].items():
        for link in links:
            _link(str(node), link, values)


def _flow(totem: dict[str, Any], values: Values) -> None:
    """What may be sent, what waits, and how it is protected."""
    values.set(WINDOW, totem["window_size"])
    values.set(WINDOW_OWN, totem["max_messages"])
    values.set(SEND_QUEUE, totem["send_queue"]["packets"])
    values.set(SEND_QUEUE_MAX, totem["send_queue"]["packets_max"])
    values.set(ACCELERATED, int(totem["accelerated"]))
    values.set(PROTECTED, int(totem["security"] is not None))
    values.set(KEYS_VALID, len(totem["security"]["keys"]) if totem["security"] is not None else 0)
    values.set(FORWARD_SECRECY, int(totem["forward_secrecy"]["on"]))
    values.set(AWAKE, int(totem["processors_awake"]))
    values.set(LOG_ENTRIES, max(0, totem["log"]["head"] - totem["log"]["acknowledged"]))
    values.set(LOG_BYTES, totem["log"]["bytes"], "cpg")
    values.set(LOG_BYTES, totem["control"]["bytes"], "control")


def _rotations(totem: dict[str, Any], values: Values) -> None:
    times = totem["rotations"]
    bounds = [bound / 1e9 for bound in times["bounds_ns"]]
    values.set(ROTATIONS, Histogram(bounds, times["counts"], times["sum_ns"] / 1e9))
    values.set(ROTATION_WORST, times["worst_us"] / 1e6)
    values.set(ROTATION_SMOOTHED, totem["rotation_us"] / 1e6)


def _counters(totem: dict[str, Any], values: Values) -> None:
    for name, count in totem["counters"].items():
        if (place := _place(name)) is not None:
            values.put(place[0], count, place[1])
    for kind, by_node in (("data", totem["sent_again"]["packets"]), ("token", totem["sent_again"]["tokens"])):
        for node, count in by_node.items():
            values.set(RETRANSMITTED_BY_NODE, count, node, kind)
    for reason, count in totem["dropped"].items():
        values.set(REFUSED, count, reason)


@lru_cache(PLACES_KEPT_MAX)
def _place(counter: str) -> tuple[Metric, Key] | None:
    """The series of a counter of totem; None if it is none of this module's."""
    if counter in COUNTED:
        metric, *labels = COUNTED[counter]
        return metric, key_of(tuple(labels))
    if is_refusal(counter) and counter not in PARTS_OF_OTHERS:
        return REFUSED, key_of((counter,))
    return None


def _link(node: str, link: dict[str, Any], values: Values) -> None:
    number = link["link"]
    values.set(LINK_UP, int(link["up"]), node, number)
    values.set(LINK_MTU, link["mtu"], node, number)
    values.set(LINK_LATENCY, link["latency_us"] / 1e6, node, number)
    values.set(LINK_DOWNS, link["downs"], node, number)
    for direction, prefix in (("sent", "tx"), ("received", "rx")):
        values.set(LINK_ERRORS, link[f"{prefix}_errors"], node, number, direction)
        values.set(LINK_BYTES, link[f"{prefix}_bytes"], node, number, direction)
        for kind in LINK_PACKETS.values:
            values.set(LINK_PACKETS, link[f"{prefix}_{kind}"], node, number, direction, kind)
