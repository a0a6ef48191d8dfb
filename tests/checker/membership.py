"""How rings come about (wire rules, sections 9 and 11): D7, D8."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tests.checker.base import Event, Limits, Ring, Violation, register, violation
from tests.checker.trace import Trace, ring_name

if TYPE_CHECKING:
    from collections.abc import Iterator

FAILED_TO_RECEIVE = 6
"""Reason of Gather: the node gives itself up."""

GATHERING = ("gather", "commit", "recovery")
FORMING = ("commit", "recovery", "operational")


class Seen:
    """Ring sequences that a node knows of."""

    __slots__ = ("at_commit", "in_joins", "own", "rings")

    def __init__(self) -> None:
        self.own: Event | None = None
        """Where its highest own ring sequence comes from, over all its lives: a start or a state."""
        self.in_joins: Event | None = None
        self.at_commit: Event | None = None
        """in_joins when Commit was entered: joins after that came too late to matter."""
        self.rings: set[Ring] = set()

    @property
    def own_sequence(self) -> int:
        """The highest ring sequence of its own."""
        if self.own is None:
            return -1
        sequence: int = self.own["stored"] if self.own["ev"] == "start" else self.own["ring"][1]
        return sequence


@register("D7")
def ring_sequence_grows(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """D7: a new ring has a higher sequence than every ring that a member was in, and than every one its maker heard of.

    Section 9: maximum of the own and every one seen in a join, plus 4; section 11: a commit token is taken only for a
    ring sequence above the own. What another member heard of but the representative did not is not promised. Judged by
    `state`, when the ring is first shown in Commit or later, over all lives of a node and against what it was given at
    start. A life that began with a lost state and a stored sequence below earlier ones counts anew (no sane clock).
    """
    nodes: defaultdict[int, Seen] = defaultdict(Seen)
    for event in trace.membership:
        seen = nodes[event["node"]]
        kind = event["ev"]
        if kind == "start":
            if event["lost_state"] or event["stored"] > seen.own_sequence:
                seen.own = event
            seen.in_joins = seen.at_commit = None
            seen.rings = set()
        elif kind == "join_seen":
            if seen.in_joins is None or event["ring_seq"] > seen.in_joins["ring_seq"]:
                seen.in_joins = event
        elif kind == "state":
            yield from _ring_sequence(seen, event)


def _ring_sequence(seen: Seen, event: Event) -> Iterator[Violation]:
    ring: Ring = tuple(event["ring"])
    if event["state"] == "commit":
        seen.at_commit = seen.in_joins
    if ring in seen.rings:
        return
    seen.rings.add(ring)
    if event["state"] in FORMING:
        if ring[1] <= seen.own_sequence:
            yield violation("D7", "a new ring is not above the ring sequence that this node had", seen.own, event)
        heard = seen.at_commit
        if ring[0] == event["node"] and heard is not None and ring[1] <= heard["ring_seq"]:
            yield violation("D7", "a new ring is not above a ring sequence its representative had heard", heard, event)
    if ring[1] > seen.own_sequence:
        seen.own = event


@register("D8")
def gather_terminates(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """D8: proc and failed only grow from leaving Operational to the next Operational; the commit token passes twice.

    A node that was forming a ring which another member has installed already may begin anew, as that member did.

    Section 11: every transition between Gather, Commit and Recovery merges into proc and failed, none takes out, except
    that a node that "failed to receive" starts over with proc = {itself}, failed = {}; Operational sets both anew.
    A node takes, and sends, a commit token of one ring at most twice (repeats of the same token_seq not counted), and
    exactly twice if it came to install a ring of two or more.
    """
    sets: dict[tuple[int, int], Event] = {}
    gave_up: set[tuple[int, int]] = set()
    installed: set[Ring] = set()
    passes: defaultdict[tuple[int, int, Ring, str], dict[int, Event]] = defaultdict(dict)
    for event in trace.membership:
        key = (event["node"], event["inc"])
        if event["ev"] == "state":
            before = sets.get(key)
            if before is not None and (before["state"] == "gather" or tuple(before["ring"]) not in installed):
                yield from _only_grows(event, before, key in gave_up)
            if event["state"] == "operational":
                installed.add(tuple(event["ring"]))
                sets.pop(key, None)
                gave_up.discard(key)
                continue
            sets[key] = event
            if event["state"] == "gather" and event["reason"] == FAILED_TO_RECEIVE:
                gave_up.add(key)
        elif event["ev"] in ("commit_in", "commit_out"):
            passes[*key, tuple(event["ring"]), event["ev"]].setdefault(event["token_seq"], event)
    for (node, _, ring, _), tokens in passes.items():
        if len(tokens) > 2:
            text = f"the commit token of ring {ring_name(ring)} passed node {node} {len(tokens)} times"
            yield violation("D8", text, *tokens.values())
    for stay in trace.stays():
        taken = passes.get((stay.node, stay.incarnation.inc, stay.ring, "commit_in"))
        if stay.conf is not None and taken and len(stay.members) > 1 and len(taken) < 2:
            text = f"node {stay.node} installed ring {ring_name(stay.ring)} after one pass of its commit token"
            yield violation("D8", text, *taken.values(), stay.conf)


def _only_grows(event: Event, before: Event, gave_up: bool) -> Iterator[Violation]:
    if event["state"] not in GATHERING:
        return
    if gave_up and event["proc"] == [event["node"]] and not event["failed"]:
        return
    if not set(before["proc"]) <= set(event["proc"]) or not set(before["failed"]) <= set(event["failed"]):
        yield violation("D8", "proc or failed shrinks inside one gather", before, event)
