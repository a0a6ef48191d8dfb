"""Ask all services of a node at once, and put what they say into the form that `rondo status` prints.

It takes what there is: a service that is down or hung costs its time-out once and is shown as such, and nothing
here needs supervisord to be alive.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rondo.config import NodeConfig, NodeConfigError
from rondo.ipc.control import ControlError, ask
from rondo.node.chassis import STATUS_SCHEMA
from rondo.node.supervision import RESOLVED_CONFIGURATION, SERVICES, processes, record

ASK_TIMEOUT_S = 1.0

Answers = dict[str, dict[str, Any] | None]
"""What each service answers to `status`; None if it does not answer."""


def ask_all(run_dir: Path, timeout: float = ASK_TIMEOUT_S) -> Answers:
    """The status of each service by its own account."""
    with ThreadPoolExecutor(len(SERVICES)) as pool:
        return dict(zip(SERVICES, pool.map(lambda name: ask_one(run_dir, name, timeout), SERVICES), strict=True))


def ask_one(run_dir: Path, name: str, timeout: float = ASK_TIMEOUT_S) -> dict[str, Any] | None:
    """The status of one service by its own account, or None if it does not answer."""
    try:
        return ask(run_dir, name, "status", timeout)
    except ControlError:
        return None


def status(run_dir: Path) -> dict[str, Any]:
    """What `rondo status --json` prints: processes, ring, members, groups, counters."""
    answers = ask_all(run_dir)
    found = {each.name: each.pid for each in processes.find(run_dir)}
    noted = record.read(run_dir)
    totem, cpg = answers["totem"] or {}, answers["cpg"] or {}
    members = totem.get("members", [])
    supervisor = found.get(processes.SUPERVISORD)
    services = {
        name: _service(answer, found.get(name), supervisor, noted.restarts.get(name, 0))
        for name, answer in answers.items()
    }
    return {
        "schema": STATUS_SCHEMA,
        "node": totem.get("node", _configured_node(run_dir)),
        "state": totem.get("state") or ("stopped" if not found else "down"),
        "why": totem.get("why_isolated") or noted.failure,
        "ring": {**totem["ring"], "members": members} if totem.get("ring") else None,
        "members": members,
        "supervisor": {"pid": supervisor, "state": "running" if supervisor else "stopped"},
        "services": services,
        "security": totem.get("security"),
        "paths": totem.get("paths", {}),
        "groups": cpg.get("groups", []),
        "counters": {name: (answer or {}).get("counters", {}) for name, answer in answers.items()},
        "run_dir": str(run_dir),
    }


def _service(answer: dict[str, Any] | None, pid: int | None, supervisor: int | None, restarts: int) -> dict[str, Any]:
    """pid: as found in /proc; a service that was started by hand is only known by its answer."""
    if answer is not None:
        state = "running"
    elif pid is not None:
        state = "not answering"
    else:
        state = "restarting" if supervisor else "stopped"
    return {"pid": (answer or {}).get("pid", pid), "state": state, "restarts": restarts}


def _configured_node(run_dir: Path) -> int | None:
    try:
        return NodeConfig.read(run_dir / RESOLVED_CONFIGURATION).node_id
    except NodeConfigError:
        return None


def is_in_ring(totem: dict[str, Any] | None) -> bool:
    """Whether totem's answer says that its ring is installed and its services are in step with the others'."""
    return totem is not None and totem.get("state") == "operational" and not totem.get("syncing")


def is_healthy(found: dict[str, Any]) -> bool:
    """Whether a `status` is that of a node that does its work: in a ring, all services and supervisord running."""
    parts = [found["supervisor"], *found["services"].values()]
    return found["state"] == "operational" and all(part["state"] == "running" for part in parts)
