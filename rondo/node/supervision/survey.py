"""Ask all services of a node at once, and combine their answers for `rondo status`.

It works with what it gets. A service that is down or hung costs its timeout once and is shown as such. supervisord need
not be alive.
"""

import time
from pathlib import Path
from typing import Any

from rondo.config import NodeConfig, NodeConfigError
from rondo.ipc.control import ControlError, ask
from rondo.ipc.surveyor import Answers, Surveyor
from rondo.node.chassis import STATUS_SCHEMA
from rondo.node.log_formats import iso_time
from rondo.node.supervision import RESOLVED_CONFIGURATION, SERVICES, processes, record

ASK_TIMEOUT_S = 1.0


def ask_all(run_dir: Path, timeout: float = ASK_TIMEOUT_S) -> Answers:
    """The status that each service reports; None if it does not answer."""
    surveyor = Surveyor(run_dir, SERVICES)
    try:
        return surveyor.ask("status", timeout)
    finally:
        surveyor.close()


def ask_one(run_dir: Path, name: str, timeout: float = ASK_TIMEOUT_S) -> dict[str, Any] | None:
    """The status that one service reports; None if it does not answer."""
    try:
        return ask(run_dir, name, "status", timeout)
    except ControlError:
        return None


def status(run_dir: Path) -> dict[str, Any]:
    """The content of `rondo status --json`: processes, ring, members, absent nodes, links, quorum, groups, counters."""
    return status_of(run_dir, ask_all(run_dir), configuration(run_dir))


def status_of(
    run_dir: Path,
    answers: Answers,
    config: NodeConfig | None,
    running: list[processes.Found] | None = None,
    noted: record.Record | None = None,
) -> dict[str, Any]:
    """The same, from the services' answers, the node's configuration, and its running processes and what supervision
    has noted, if these are known."""
    found = {each.name: each.pid for each in (processes.find(run_dir) if running is None else running)}
    noted = record.read(run_dir) if noted is None else noted
    totem, cpg, control = (answers.get(name) or {} for name in ("totem", "cpg", "control"))
    members = totem.get("members", [])
    supervisor = found.get(processes.SUPERVISORD)
    services = {name: _service(name, answer, found.get(name), supervisor, noted) for name, answer in answers.items()}
    return {
        "schema": STATUS_SCHEMA,
        "node": totem.get("node", config.node_id if config else None),
        "state": totem.get("state") or ("stopped" if not found else "down"),
        "why": totem.get("why_isolated") or noted.failure,
        "ring": {**totem["ring"], "members": members} if totem.get("ring") else None,
        "members": members,
        "absent": [_absent(each, config, totem) for each in totem.get("absent", [])],
        "strangers": totem.get("strangers", []),
        "supervisor": {"pid": supervisor, "state": "running" if supervisor else "stopped"},
        "services": services,
        "security": totem.get("security"),
        "forward_secrecy": totem.get("forward_secrecy"),
        "paths": totem.get("paths", {}),
        "links": totem.get("links", {}),
        "quorum": control.get("quorum"),
        "groups": cpg.get("groups", []),
        "counters": {name: (answer or {}).get("counters", {}) for name, answer in answers.items()},
        "run_dir": str(run_dir),
    }


def _service(
    name: str, answer: dict[str, Any] | None, pid: int | None, supervisor: int | None, noted: record.Record
) -> dict[str, Any]:
    """pid: as found in /proc. A service that was started by hand is known only by its answer."""
    why = (answer or {}).get("why", "")
    if answer is not None:
        state = "running"
    elif name in noted.off:
        state, why = "off", noted.off[name]
    elif pid is not None:
        state = "not answering"
    elif name in noted.given_up:
        state = "failed"
    else:
        state = "restarting" if supervisor else "stopped"
    service = {
        "pid": (answer or {}).get("pid", pid),
        "state": state,
        "restarts": noted.restarts.get(name, 0),
        "last_end": noted.ends.get(name, ""),
    }
    if code := (answer or {}).get("code"):
        service["code"] = code
    return {**service, "why": why} if why else service


def _absent(told: dict[str, Any], config: NodeConfig | None, totem: dict[str, Any]) -> dict[str, Any]:
    """A node of the nodelist that is not in the ring, as totem reports it, with its name and addresses."""
    node = told["node"]
    return {
        "node": node,
        "name": config.node_names.get(node, "") if config else "",
        "addresses": _addresses(config, node) if config else [],
        "since": iso_time(time.time() - told["seconds"]),
        "seen": told["seen"],
        "listens": node not in totem.get("deaf", []),
    }


def _addresses(config: NodeConfig, node: int) -> list[str]:
    return list(config.knet.addresses.get(node, {}).values()) or list(config.members.get(node, ()))


def configuration(run_dir: Path) -> NodeConfig | None:
    """The configuration with which the node was started; None if it cannot be read."""
    try:
        return NodeConfig.read(run_dir / RESOLVED_CONFIGURATION)
    except NodeConfigError:
        return None


def is_in_ring(totem: dict[str, Any] | None) -> bool:
    """True if totem answers that its ring is installed and its services are in sync with the other nodes'."""
    return totem is not None and totem.get("state") == "operational" and not totem.get("syncing")


def is_healthy(found: dict[str, Any]) -> bool:
    """True if this `status` is that of a working node: in a ring, and supervisord and all started services run."""
    parts = [found["supervisor"], *found["services"].values()]
    return found["state"] == "operational" and all(part["state"] in ("running", "off") for part in parts)


def not_running(found: dict[str, Any]) -> list[str]:
    """What does not run of a node, one line each with the consequence; [] if everything runs."""
    lines = []
    if found["supervisor"]["state"] != "running":
        lines.append("supervisord does not run, so nothing is started again; run `rondo start`, which takes over")
    for name, each in found["services"].items():
        if each["state"] in ("running", "off"):
            continue
        says = {"not answering": "does not answer", "restarting": "does not run; it is started again"}
        line = f"{name} {says.get(each['state'], 'does not run')}"
        lines.append(f"{line}; its last end: {each['last_end']}" if each["last_end"] else line)
    return lines
