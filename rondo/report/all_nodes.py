"""The archive of all nodes: this node's report, those of the other nodes, and a list of what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rondo.metrics.looker import Looker
from rondo.node.supervision.survey import configuration
from rondo.report import contents
from rondo.report.contents import Entry
from rondo.report.others import Fetching, Other
from rondo.report.secrets import secrets_of
from rondo.report.told import Told, ask


def entries(run_dir: Path, via: str, told: Callable[[str], None], missing: list[str]) -> Iterator[Entry]:
    """Names and contents. `told`: called with what is being done; `missing`: gets a line for each node without report.

    The archives of other nodes are put in as they come, because each node has cut out its own secrets. Secrets are
    cut out of everything else here.
    """
    others = _others(run_dir)
    yield from contents.entries(run_dir)
    failures: dict[Other, str] = {}
    told(f"collecting the reports of {len(others)} other nodes")
    for fetched in Fetching(via).all_of(others):
        if fetched.failure:
            failures[fetched.other] = fetched.failure
        else:
            yield f"nodes/{fetched.other.node}.tar.gz", fetched.archive
            told(f"have the report of {fetched.other.shown}")
    if not failures:
        return
    told("asking the cluster about the nodes without report")
    said, secrets = ask(run_dir), secrets_of(configuration(run_dir))
    wanted = {other.node for other in failures}
    for name, data in said.entries(wanted):
        yield name, secrets.cut(data)
    missing += [_line(other, failure, said) for other, failure in failures.items()]
    yield "nodes/missing.json", secrets.cut(_missing(failures, said))


def _others(run_dir: Path) -> list[Other]:
    looker = Looker(run_dir)
    try:
        told = looker.status()
    finally:
        looker.close()
    return [
        Other(each["node"], each["name"], each["addresses"][0] if each["addresses"] else "")
        for each in told["nodes"]
        if each["node"] != told["status"]["node"]
    ]


def _has(other: Other, said: Told) -> str:
    """What the archive has of a node instead of its report."""
    if other.node in said.figures:
        return "its figures and events, as its page tells them"
    return f"nothing: {said.failure or 'no page runs there, or it is not in the ring'}"


def _line(other: Other, failure: str, said: Told) -> str:
    return f"no report of {other.shown}: {failure}; in the archive is {_has(other, said)}"


def _missing(failures: dict[Other, str], said: Told) -> bytes:
    rows: list[dict[str, Any]] = [
        {"node": other.node, "name": other.name, "why": failure, "instead": _has(other, said)}
        for other, failure in failures.items()
    ]
    return f"{json.dumps(rows, indent=2, ensure_ascii=False)}\n".encode(errors="backslashreplace")
