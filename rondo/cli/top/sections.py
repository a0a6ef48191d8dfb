"""The lists of `rondo top`: groups, links, applications, processes, events."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rondo.cli.text import column
from rondo.cli.top.rates import Rates, short
from rondo.timeline.events import Event

ORDERS = ("name", "messages", "bytes", "members", "restarts")
"""What lists may be sorted by; a list that has no such thing goes by its own first rule, and then by name."""
NAME_WIDTH = 26
MEMBERS_SHOWN = 16


@dataclass(frozen=True, slots=True)
class Section:
    """One list."""

    label: str
    """Of its first column."""
    columns: str
    """The heads of the others."""
    rows: list[str]


def sections(told: dict[str, Any], rates: Rates, order: str, events: Iterable[Event]) -> list[Section]:
    """All that have rows, of what `Looker.status` tells."""
    made = [
        _groups(told["status"]["groups"], rates, order),
        _links(told["nodes"]),
        _applications(told["applications"], order),
        _processes(told["status"], order),
        _events(events),
    ]
    return [each for each in made if each.rows]


def _groups(groups: list[dict[str, Any]], rates: Rates, order: str) -> Section:
    keys: dict[str, Callable[[dict[str, Any]], float]] = {
        "messages": lambda each: rates.messages.get(each["group"], 0.0),
        "bytes": lambda each: rates.message_bytes.get(each["group"], 0.0),
        "members": lambda each: len(each["members"]),
    }
    rows = []
    for each in _sorted(groups, "group", keys.get(order)):
        name, members = each["group"], each["members"]
        shown = " ".join(f"{member['node']}:{member['pid']}" for member in members[:MEMBERS_SHOWN])
        more = f" and {len(members) - MEMBERS_SHOWN} more" if len(members) > MEMBERS_SHOWN else ""
        messages, size = short(rates.messages.get(name)), short(rates.message_bytes.get(name))
        rows.append(f"{column(name, NAME_WIDTH)} {messages:>10} {size:>9} {len(members):>7}  {shown}{more}")
    return Section("GROUP", f"{'MESSAGES/S':>10} {'BYTES/S':>9} {'MEMBERS':>7}  NODE:PID", rows)


def _links(nodes: list[dict[str, Any]]) -> Section:
    """Those that are down first."""
    links = [(node, link) for node in nodes for link in node["links"]]
    links.sort(key=lambda each: (each[1]["up"], each[0]["node"], each[1]["link"]))
    rows = []
    for node, link in links:
        name = column(f"{node['node']} {node['name']} link {link['link']}".replace("  ", " "), NAME_WIDTH)
        state, latency = "up" if link["up"] else "DOWN", f"{link['latency_us'] / 1000:.2f}"
        rows.append(f"{name} {state:>10} {latency:>9} {link['mtu']:>7}  {link['remote']}, {link['downs']} times down")
    return Section("LINK", f"{'STATE':>10} {'MS':>9} {'MTU':>7}  TO", rows)


def _applications(applications: list[dict[str, Any]], order: str) -> Section:
    """Those that have failed first, unless another order is wanted."""
    keys: dict[str, Callable[[dict[str, Any]], float]] = {"restarts": lambda each: each["restarts"]}
    rows = []
    for each in _sorted(applications, "id", keys.get(order, lambda each: each["state"] == "failed")):
        pid = "-" if each["pid"] is None else each["pid"]
        name = column(each["id"], NAME_WIDTH)
        rows.append(f"{name} {each['state']:>10} {pid:>9} {each['restarts']:>7}  {_last(each)}")
    return Section("APPLICATION", f"{'STATE':>10} {'PID':>9} {'STARTS+':>7}  LAST", rows)


def _last(application: dict[str, Any]) -> str:
    """What happened to it last, as the page has it."""
    if application["message"] or not application["history"]:
        return str(application["message"] or "")
    end = application["history"][-1]
    return f"instance {end['instance']} {'; '.join(filter(None, (end['why'], end['text'])))}"


def _processes(status: dict[str, Any], order: str) -> Section:
    """Those that do not run first, unless another order is wanted."""
    every = [{"name": "supervisord", "restarts": 0, "last_end": "", **status["supervisor"]}]
    every += [{"name": name, **each} for name, each in status["services"].items()]
    keys: dict[str, Callable[[dict[str, Any]], float]] = {"restarts": lambda each: each["restarts"]}
    rows = []
    for each in _sorted(every, "name", keys.get(order, lambda each: each["state"] not in ("running", "off"))):
        pid = "-" if each["pid"] is None else each["pid"]
        why = each.get("why") or each["last_end"]
        rows.append(f"{column(each['name'], NAME_WIDTH)} {each['state']:>10} {pid:>9} {each['restarts']:>7}  {why}")
    return Section("PROCESS", f"{'STATE':>10} {'PID':>9} {'STARTS+':>7}  LAST END", rows)


def _events(events: Iterable[Event]) -> Section:
    """The newest first."""
    rows = [f"{each.as_json()['time'][11:19]} {each.name:<20} {each.text}" for each in reversed(list(events))]
    return Section("EVENT", "", rows)


def _sorted(
    rows: list[dict[str, Any]], name: str, most: Callable[[dict[str, Any]], float] | None
) -> list[dict[str, Any]]:
    """By name; before that, what has the most of something first."""
    return sorted(rows, key=lambda each: (-most(each) if most is not None else 0, each[name]))
