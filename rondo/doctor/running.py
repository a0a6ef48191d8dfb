"""Checks of a running node: its processes, the other nodes, and the token timeout compared with measured rotations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import rondo
from rondo._client.control import Control
from rondo._client.endpoint import endpoint_of
from rondo.doctor.finding import Finding, fault, ok, warn
from rondo.doctor.subject import Subject
from rondo.node.supervision.survey import not_running
from rondo.paths import PathError, socket_endpoint
from rondo.protocol.control_gateway import Op

ROTATIONS_MIN = 1000
"""With fewer rotations the worst one says nothing about the network."""
SHARE_MAX = 0.5
"""The share of the token timeout that the worst rotation may take: the next one may take twice as long."""
ANSWER_S = 5.0
"""How long the gateway may take to say what all nodes are."""
_ROUND_MS = 500


def processes(subject: Subject) -> Iterator[Finding]:
    """Check that all processes run, and were not restarted."""
    if not subject.is_running:
        why = subject.status.get("why", "")
        if why:
            yield fault("processes", f"the node has stopped: {why}", str(subject.run_dir), "mend it, and rondo start")
        else:
            yield ok(
                "processes", "no node runs here: what only a running one can tell was left out", str(subject.run_dir)
            )
        return
    lacking = not_running(subject.status)
    for line in lacking:
        yield fault("processes", line, str(subject.run_dir), "rondo logs says why; rondo start takes over what is left")
    hindered = {
        name: each["why"]
        for name, each in subject.status["services"].items()
        if each["state"] == "running" and each.get("why")
    }
    for name, why in hindered.items():
        yield warn("processes", f"{name} runs and cannot do its work: {why}", name, f"mend that; see {name}{{}}")
    restarts = {name: each["restarts"] for name, each in subject.status["services"].items() if each["restarts"]}
    for name, count in restarts.items():
        end = subject.status["services"][name]["last_end"]
        what = f"{name} was started again {count} times" + (f"; its last end: {end}" if end else "")
        yield warn("processes", what, name, f"rondo logs {name} says how it ended")
    if not (lacking or hindered or restarts):
        yield ok("processes", "all processes run and none had to be started again")


def nodes(subject: Subject) -> Iterator[Finding]:
    """Check the state of the ring, refused packets, links, and differences between the members."""
    totem = subject.totem
    if totem is None:
        return
    found = False
    for finding in (*_ring(totem), *_strangers(totem), *_links(totem), *_versions(subject)):
        found = True
        yield finding
    if not found:
        yield ok("nodes", f"the ring has {len(totem['members'])} members, of one configuration and one version")


def _ring(totem: dict[str, Any]) -> Iterator[Finding]:
    if why := totem.get("why_isolated"):
        yield fault("nodes", f"the node is not on the network: {why}", "totem", "give the machine its address back")
    elif totem["state"] != "operational":
        what = f"the node is in no ring: its state is {totem['state']}"
        yield fault("nodes", what, "totem", "rondo logs totem gives the reason of each attempt")


def _strangers(totem: dict[str, Any]) -> Iterator[Finding]:
    """Report whose packets are refused. The reason tells what differs."""
    for each in totem["strangers"]:
        why, _, mend = each["why"].partition("; ")
        what = f"packets from {each['address']} are refused: {why}"
        yield fault("nodes", what, each["address"], mend or "compare corosync.conf and the key with that machine")
    refused = {
        name: count for name, count in totem["counters"].items() if name.startswith("security_wrong_key") and count
    }
    if refused and not totem["strangers"]:
        what = f"{sum(refused.values())} packets were made with another key, or altered"
        yield warn("nodes", what, "totem", "compare the fingerprints: rondo key status on all nodes")


def _links(totem: dict[str, Any]) -> Iterator[Finding]:
    for node, links in totem["links"].items():
        for link in links:
            if not link["up"] and int(node) in totem["members"]:
                where = f"link {link['link']}, {link['local']} to {link['remote']}"
                mend = f"ping {link['remote']} from {link['local']}; let UDP {link['port']} pass on both machines"
                yield fault("links", f"the link to node {node} is down", where, mend)


def _versions(subject: Subject) -> Iterator[Finding]:
    """Report differences in software and configuration between members."""
    control = subject.answers.get("control") or {}
    for node, names in control.get("differing", {}).items():
        what = f"another configuration is in force there than here: {', '.join(names)} differ"
        yield warn("nodes", what, f"node {node}", "write the same corosync.conf on all nodes; rondo reload")
    versions = control.get("config_versions", {})
    if len(set(versions.values())) > 1:
        newest = max(versions.values())
        behind = ", ".join(node for node, version in versions.items() if version != newest)
        what = f"nodes have different config_versions: {', '.join(f'{node}: {v}' for node, v in versions.items())}"
        yield warn("nodes", what, f"node {behind}", "copy the newest corosync.conf there; rondo reload")
    try:
        told = _ask_nodes(subject)
    except (rondo.Error, PathError):
        return
    software = {each["node"]: each["software"] for each in told if each["member"] and each["software"]}
    rondos = {node: text for node, text in software.items() if text.startswith("rondo ")}  # with known version
    if len(set(rondos.values())) > 1:
        what = f"nodes run different versions: {', '.join(f'{node}: {text}' for node, text in rondos.items())}"
        yield warn("nodes", what, "", "update those that are behind, one after the other")


def _ask_nodes(subject: Subject) -> list[dict[str, Any]]:
    control = Control(endpoint_of(socket_endpoint(subject.run_dir, "gateway.sock")))
    try:
        found: list[dict[str, Any]] = control.ask(Op.NODES, timeout=ANSWER_S)
        return found
    finally:
        control.close()


def token(subject: Subject) -> Iterator[Finding]:
    """Compare the token timeout with the worst measured rotation, and propose a value."""
    totem, config = subject.totem, subject.config
    if totem is None or config is None:
        return
    times, timeout_ms = totem["rotations"], config.token_timeout_ms
    count, worst_ms = sum(times["counts"]), times["worst_us"] / 1000
    quantile_ms = quantile_ns(times["bounds_ns"], times["counts"], 0.999) / 1e6
    seen = f"of {count} rotations the worst took {worst_ms:.0f} ms, 999 of 1000 less than {quantile_ms:.1f} ms"
    lost = totem["counters"]["operational_token_lost"]
    late = totem["not_scheduled"]
    if worst_ms > SHARE_MAX * timeout_ms or (lost and count >= ROTATIONS_MIN and late):
        wanted = wanted_timeout_ms(worst_ms, timeout_ms)
        what = f"the token time-out is {timeout_ms} ms; {seen}, {lost} tokens were lost"
        mend = f"write totem.token: {wanted} on all nodes"
        yield warn("token", what, "totem.token", mend)
    elif late:
        what = f"the ring process was not scheduled for most of the token time-out {late} times"
        yield warn("token", what, "totem", "give the machine processors of its own; or write system.sched_rr: yes")
    else:
        yield ok("token", f"the token time-out is {timeout_ms} ms; {seen}")


def quantile_ns(bounds_ns: list[int], counts: list[int], share: float) -> int:
    """The bound, in ns, below which that share of the rotations lies; the last bound if there is none."""
    wanted, total = share * sum(counts), 0
    for bound_ns, count in zip(bounds_ns, counts, strict=False):
        total += count
        if total >= wanted:
            return bound_ns
    return bounds_ns[-1]


def wanted_timeout_ms(worst_ms: float, timeout_ms: int) -> int:
    """A token timeout of which the worst rotation takes at most `SHARE_MAX`; never less than now."""
    wanted = max(worst_ms / SHARE_MAX, 1.5 * timeout_ms)
    return int(-(-wanted // _ROUND_MS) * _ROUND_MS)
