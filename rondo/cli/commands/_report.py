"""A node's status as text, as `rondo status` prints it."""

import time
from typing import Any

from rondo.node.log_formats import iso_time

RATES = {
    "messages in": ("totem", "messages_rx"),
    "messages out": ("totem", "messages_tx"),
    "packets in": ("totem", "mcast_rx"),
    "packets out": ("totem", "mcast_tx"),
    "sent again": ("totem", "mcast_retx"),
    "tokens": ("totem", "orf_token_rx"),
    "dropped": ("totem", "rx_msg_dropped"),
}
"""Counters whose rate is shown: the name, and where it is counted."""

BAD_PATHS = {
    "loses_large": "loses packets > {passes} bytes: mend it, or set totem.netmtu on all nodes",
    "no_multicast": "loses multicast: mend it, or set totem.transport: udpu on all nodes",
}
"""totem's findings about the paths to other nodes."""

ABSENT_SHOWN_MAX = 16
LINKS_SHOWN_MAX = 16
GROUPS_SHOWN_MAX = 20
MEMBERS_SHOWN_MAX = 16


def report(found: dict[str, Any], before: dict[str, Any] | None = None, seconds: float = 0.0) -> str:
    """The status as text. With an earlier status, taken `seconds` before, also rates."""
    lines = [*_node(found), "", *_services(found)]
    if found["groups"]:
        lines += ["", *_groups(found["groups"])]
    if before is not None and seconds > 0:
        lines += ["", *_rates(found, before, seconds)]
    return "\n".join(lines)


def _node(found: dict[str, Any]) -> list[str]:
    ring = found["ring"]
    node = "?" if found["node"] is None else found["node"]
    lines = [f"node {node}: {found['state']}" + (f" ({found['why']})" if found["why"] else "")]
    if ring:
        members = " ".join(map(str, ring["members"])) or "none"
        count = f"{len(ring['members'])} member{'' if len(ring['members']) == 1 else 's'}"
        lines.append(f"ring {ring['representative']}.{ring['sequence']:x}, {count}: {members}")
    lines += _absent(found.get("absent", []))
    for each in found.get("strangers", []):
        lines.append(f"refused: packets from {each['address']}, last {each['seconds_ago']:.0f} s ago: {each['why']}")
    lines += _links(found.get("links", {}))
    return lines + [
        f"the way to node {other} {BAD_PATHS[path['path']].format(passes=path['passes'])}"
        for other, path in found.get("paths", {}).items()
        if path["path"] in BAD_PATHS
    ]


def _absent(absent: list[dict[str, Any]]) -> list[str]:
    lines = [f"{len(absent)} absent:"] if absent else []
    for each in absent[:ABSENT_SHOWN_MAX]:
        name = f" {each['name']}" if each["name"] else ""
        since = f"since {each['since']}" if each["seen"] else f"not seen since this node's start, {each['since']}"
        deaf = "" if each["listens"] else "; its port is closed: it does not run, or has another mcastport"
        lines.append(f"  node {each['node']}{name} ({', '.join(each['addresses'])}) {since}{deaf}")
    if len(absent) > ABSENT_SHOWN_MAX:
        lines.append(f"  and {len(absent) - ABSENT_SHOWN_MAX} more")
    return lines


def _links(links: dict[str, list[dict[str, Any]]]) -> list[str]:
    """knet's links, those that are down first."""
    every = [(node, link) for node, of_node in links.items() for link in of_node]
    if not every:
        return []
    every.sort(key=lambda each: each[1]["up"])
    lines = [f"links: {sum(link['up'] for _, link in every)} of {len(every)} up"]
    for node, link in every[:LINKS_SHOWN_MAX]:
        state = "up" if link["up"] else "DOWN"
        more = f", MTU {link['mtu']}, {link['latency_us'] / 1000:.1f} ms" if link["up"] else ""
        since = iso_time(time.time() - link["since_ms"] / 1000)
        errors = f", {link['tx_errors']} + {link['rx_errors']} errors" if link["tx_errors"] or link["rx_errors"] else ""
        went = f", went down {link['downs']} times" if link["downs"] else ""
        lines.append(
            f"  to node {node} link {link['link']} ({link['remote']}) {state} since {since}{more}{went}{errors}"
        )
    if len(every) > LINKS_SHOWN_MAX:
        lines.append(f"  and {len(every) - LINKS_SHOWN_MAX} more, see --json")
    return lines


def _services(found: dict[str, Any]) -> list[str]:
    rows = [("PROCESS", "PID", "STATE", "RESTARTS")]
    rows.append(("supervisord", _number(found["supervisor"]["pid"]), found["supervisor"]["state"], "-"))
    rows += [
        (name, _number(each["pid"]), each["state"], str(each["restarts"])) for name, each in found["services"].items()
    ]
    lines = [f"{name:<12} {pid:>8}  {state:<14} {restarts:>8}" for name, pid, state, restarts in rows]
    whys = [f"{name}: {each['why']}" for name, each in found["services"].items() if each.get("why")]
    ends = [
        f"last end of {name}: {each['last_end']}" for name, each in found["services"].items() if each.get("last_end")
    ]
    return lines + _code(found["services"]) + whys + ends


def _code(services: dict[str, Any]) -> list[str]:
    """Whether the services run compiled or from source; separately for each if they differ."""
    told = {name: each["code"] for name, each in services.items() if each.get("code")}
    if len(set(told.values())) > 1:
        return [f"code of {name}: {code}" for name, code in told.items()]
    return [f"code: {code}" for code in set(told.values())]


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def _groups(groups: list[dict[str, Any]]) -> list[str]:
    lines = [f"{'GROUP':<24} MEMBERS (node:pid)"]
    for group in groups[:GROUPS_SHOWN_MAX]:
        members = [f"{each['node']}:{each['pid']}" for each in group["members"]]
        more = len(members) - MEMBERS_SHOWN_MAX
        shown = members[:MEMBERS_SHOWN_MAX] + ([f"and {more} more"] if more > 0 else [])
        lines.append(f"{group['group']:<24} {' '.join(shown)}")
    if len(groups) > GROUPS_SHOWN_MAX:
        lines.append(f"and {len(groups) - GROUPS_SHOWN_MAX} more groups")
    return lines


def _rates(found: dict[str, Any], before: dict[str, Any], seconds: float) -> list[str]:
    parts = []
    for name, (service, counter) in RATES.items():
        now, then = (each["counters"].get(service, {}).get(counter) for each in (found, before))
        if now is not None and then is not None:
            # A restarted service counts from zero.
            parts.append(f"{name} {max(0, now - then) / seconds:.0f}")
    return [f"a second: {', '.join(parts)}"] if parts else []
