"""Metrics of quorum, also under the names of ha_cluster_exporter, so that existing dashboards go on working.

ha_cluster_exporter reads corosync-quorumtool and corosync-cfgtool; here the services are asked. Its labels are kept
where there is a value for them. A ring of `udp` or `udpu` has one link, and no error counter.
"""

from __future__ import annotations

from typing import Any

from rondo.metrics.metric import NODES_MAX, Kind, Metric, Values
from rondo.metrics.seen import Seen

QUORATE = Metric("rondo_quorum_quorate", Kind.GAUGE, "1 if this node has quorum, or nobody counts votes")
VOTES = Metric("rondo_quorum_votes", Kind.GAUGE, "Votes of each member", ("node",), NODES_MAX)
TOTAL = Metric("rondo_quorum_total_votes", Kind.GAUGE, "Votes of all members")
EXPECTED = Metric("rondo_quorum_expected_votes", Kind.GAUGE, "Votes that there are if all nodes are there")
NEEDED = Metric("rondo_quorum_needed_votes", Kind.GAUGE, "Votes that are needed for quorum")
FLAGS = Metric(
    "rondo_quorum_flag", Kind.GAUGE, "1 for each of the features of votequorum that is in force", ("flag",), 8,
    {
        "two_node": "one of two is enough", "wait_for_all": "no quorum before all were there",
        "last_man_standing": "expected votes follow those that left", "auto_tie_breaker": "half is enough on one side",
        "allow_downscale": "who leaves in order is not expected any more",
    },
)  # fmt: skip

HA_QUORATE = Metric("ha_cluster_corosync_quorate", Kind.GAUGE, "Whether or not the cluster is quorate")
HA_MEMBER_VOTES = Metric(
    "ha_cluster_corosync_member_votes", Kind.GAUGE, "How many votes each member node has contributed to the quorum",
    ("node_id", "node", "local"), NODES_MAX,
)  # fmt: skip
HA_QUORUM_VOTES = Metric(
    "ha_cluster_corosync_quorum_votes", Kind.GAUGE, "Cluster quorum votes; one line per type", ("type",), 4,
    {
        "expected_votes": "if all nodes are there", "highest_expected": "the highest expected votes of a member",
        "total_votes": "of the members", "quorum": "needed",
    },
)  # fmt: skip
HA_RINGS = Metric(
    "ha_cluster_corosync_rings", Kind.GAUGE, "The status of each ring (a link of this node); 1 means healthy, 0 faulty",
    ("ring_id", "node_id", "number", "address"), 8,
)  # fmt: skip
HA_RING_ERRORS = Metric("ha_cluster_corosync_ring_errors", Kind.GAUGE, "How many of this node's rings are faulty")
HA_MEMBERS = Metric("ha_cluster_corosync_members", Kind.GAUGE, "Members of the ring")

METRICS = (
    QUORATE, VOTES, TOTAL, EXPECTED, NEEDED, FLAGS, HA_QUORATE, HA_MEMBER_VOTES, HA_QUORUM_VOTES, HA_RINGS,
    HA_RING_ERRORS, HA_MEMBERS,
)  # fmt: skip


def collect(seen: Seen, values: Values) -> None:
    """The metrics of votes, and those under the exporter's names."""
    control, totem = seen.answers.get("control"), seen.answers.get("totem")
    if control is not None:
        values.set(QUORATE, int(control["quorate"]))
        values.set(HA_QUORATE, int(control["quorate"]))
        if control["quorum"] is not None:
            _votes(seen, control["quorum"], values)
    if totem is not None:
        values.set(HA_MEMBERS, len(totem["members"]))
        _rings(seen, totem, values)


def _votes(seen: Seen, quorum: dict[str, Any], values: Values) -> None:
    values.set(TOTAL, quorum["total_votes"])
    values.set(EXPECTED, quorum["expected_votes"])
    values.set(NEEDED, quorum["quorum"])
    for flag in FLAGS.values:
        values.set(FLAGS, int(flag in quorum["flags"]), flag)
    for kind in HA_QUORUM_VOTES.values:
        values.set(HA_QUORUM_VOTES, quorum[kind], kind)
    names = seen.config.node_names if seen.config is not None else {}
    for node in quorum["nodes"]:
        if node["state"] == "member":
            values.set(VOTES, node["votes"], node["node"])
            local = str(node["node"] == quorum["node"]).lower()
            values.set(HA_MEMBER_VOTES, node["votes"], node["node"], names.get(node["node"], ""), local)


def _rings(seen: Seen, totem: dict[str, Any], values: Values) -> None:
    """A series for each link of this node. A link of knet is faulty if it misses a node that it should reach."""
    ring_id = f"{totem['ring']['representative']}.{totem['ring']['sequence']:x}"
    own = totem["node"]
    links: dict[int, tuple[bool, str]] = {}
    for of_node in totem["links"].values():
        for link in of_node:
            is_up, address = links.get(link["link"], (True, link["local"]))
            links[link["link"]] = (is_up and link["up"], address)
    if not links and seen.config is not None:
        links[0] = (totem["state"] != "isolated", seen.config.local_address)
    for number, (is_up, address) in sorted(links.items()):
        values.set(HA_RINGS, int(is_up), ring_id, own, number, address)
    values.set(HA_RING_ERRORS, sum(not is_up for is_up, _ in links.values()))
