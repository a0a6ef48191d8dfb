"""How long a ring of 16 nodes takes to form when all are started at once, by the nodes' own logs.

The time is from when the last of the ring's processes has said its first word to when the last node has said that the
ring has all members.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from bench.lab.cluster import BenchError
from bench.plan import Plan, progress, series_of
from bench.statistics import Series

NODES = 16
TIME = re.compile(r"^(?:([A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d\.\d{3})|(\d{4}-\d\d-\d\dT[\d:.]{12}[+-]\d\d:\d\d)) ")
"""Corosync's time, or Rondo's."""
FORMED = "A new membership ("


def form(plan: Plan) -> list[Series]:
    found: dict[tuple[object, ...], Series] = {}
    for _ in range(plan.rounds):
        for system in plan.systems:
            with plan.alone(system).clusters(NODES) as clusters:
                logs = [node.log() for node in clusters[system.name].nodes.values()]
            seconds = formation_seconds(logs)
            progress(f"{system.name}: formed {seconds:.2f} s after the last was up")
            series_of(found, Series("formed", "s", {"system": system.name, "nodes": NODES})).samples.append(seconds)
    return list(found.values())


def formation_seconds(logs: Iterable[str]) -> float:
    """From the last first line of any log to the last line about a new membership. Raises BenchError."""
    first, last = [], []
    for log in logs:
        lines = log.splitlines()
        formed = [line for line in lines if FORMED in line]
        if not formed:
            raise BenchError("a node has not logged a membership")
        first.append(time_of(next((line for line in lines if TIME.match(line)), "")))
        last.append(time_of(formed[-1]))
    return (max(last) - max(first)).total_seconds()


def time_of(line: str) -> datetime:
    """When a line was logged. Raises BenchError if it does not say so."""
    match = TIME.match(line)
    if match is None:
        raise BenchError(f"a line of a log has no time: {line!r}")
    if match[2]:
        return datetime.fromisoformat(match[2])
    # A leap year, because the line names none.
    return datetime.strptime(f"2024 {match[1]}", "%Y %b %d %H:%M:%S.%f")
