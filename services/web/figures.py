"""What the pages of other nodes are told of a status."""

from __future__ import annotations

from typing import Any

from services.web.wire import APPLICATIONS_MAX, COUNTERS, TEXT_MAX, Figures


def figures_of(told: dict[str, Any]) -> Figures:
    """Of a status as `rondo.metrics.looker` gives it."""
    status = told["status"]
    own: dict[str, Any] = next((each for each in told["nodes"] if each["node"] == status["node"]), {})
    ring = status["ring"]
    links = [link for each in told["nodes"] for link in each["links"]]
    counters = status["counters"].get("totem", {})
    return Figures(
        name=str(own.get("name", ""))[:TEXT_MAX],
        software=told["software"],
        state=status["state"],
        why=status["why"][:TEXT_MAX],
        healthy=told["healthy"],
        ring=f"{ring['representative']}.{ring['sequence']:x}" if ring else "",
        members=tuple(status["members"]),
        quorate=status["quorum"]["quorate"] if status["quorum"] else None,
        rotation_us=int(told["rotation_us"] or 0),
        links_up=sum(link["up"] for link in links),
        links=len(links),
        processes=tuple((name, each["state"], each["restarts"]) for name, each in status["services"].items()),
        applications=tuple(
            (each["id"], each["state"], each["restarts"]) for each in told["applications"][:APPLICATIONS_MAX]
        ),
        counters=tuple(int(counters.get(name, 0)) for name in COUNTERS),
    )
