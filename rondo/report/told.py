"""What the cluster tells about its nodes: the figures and the latest events that their pages exchange.

For a moment this process joins the group of the pages and says that somebody looks. Every node with a page then tells
its state and its latest events (`services/web/peers.py`). That is no report, because it has no logs and no
configuration. But it is all that can be had without a login on the node.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rondo
from rondo.node.log_formats import iso_time
from rondo.paths import PathError, socket_endpoint
from rondo.report.contents import Entry
from services.web.peers import Peers
from services.web.wire import GROUP, Happened

WAIT_S = 10.0
"""A page answers at once, and has fifty events in an answer, one a second."""
POLL_S = 0.2
CONNECT_S = 5.0
EVENTS_MAX = 1000
"""Of each node."""


class Told:
    """What was heard of other nodes."""

    def __init__(self) -> None:
        self.figures: dict[int, dict[str, Any]] = {}
        self.events: defaultdict[int, list[Happened]] = defaultdict(list)
        self.failure = ""
        """Why nothing could be asked."""

    def entries(self, wanted: set[int]) -> Iterator[Entry]:
        """Files of the archive about these nodes."""
        for node, figures in sorted(self.figures.items()):
            if node not in wanted:
                continue
            yield f"nodes/{node}/figures.json", f"{json.dumps(figures, indent=2, ensure_ascii=False)}\n".encode()
            lines = [json.dumps(_as_json(each), ensure_ascii=False) for each in self.events[node]]
            yield f"nodes/{node}/events.jsonl", "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")


def ask(run_dir: Path, wait_s: float = WAIT_S) -> Told:
    """Listen to the pages of all nodes, until all have told everything or the time is over."""
    told = Told()
    try:
        with rondo.connect(socket_endpoint(run_dir, "gateway.sock"), timeout=CONNECT_S) as cluster:
            own = rondo.Member(cluster.node_id, cluster.pid)
            group, peers = cluster.cpg.join(GROUP), Peers()
            _listen(group, peers, own, told, time.monotonic() + wait_s)
            told.figures = {each["node"]: each for each in peers.as_json(time.monotonic())}
    except (rondo.Error, PathError) as error:
        told.failure = str(error)
    return told


def _listen(group: rondo.Group, peers: Peers, own: rondo.Member, told: Told, until_s: float) -> None:
    finished: set[int] = set()
    """Nodes whose last word had no event that was new."""
    is_in = False
    while (now_s := time.monotonic()) < until_s:
        event = group.poll(POLL_S)
        if isinstance(event, rondo.Membership):
            peers.on_members(event.members, own)
            is_in = True
        elif isinstance(event, rondo.Message):
            new = peers.on_message(event.sender, event.data, now_s)
            node, kept = event.sender.node, told.events[event.sender.node]
            kept += new[: max(0, EVENTS_MAX - len(kept))]
            has_figures = node in peers.known and peers.known[node].seen_s == now_s
            if has_figures and not new:
                finished.add(node)
        elif isinstance(event, rondo.Disconnected):
            raise rondo.Error("the connection to the gateway was lost")
        if (word := peers.look(now_s, is_watched=True)) is not None:
            group.mcast(word)
        elif is_in and peers.others() <= finished:
            return


def _as_json(event: Happened) -> dict[str, Any]:
    return {
        "time": iso_time(event.seconds, milliseconds=True), "source": event.source, "event": event.name,
        "level": event.level, "text": event.text,
    }  # fmt: skip
