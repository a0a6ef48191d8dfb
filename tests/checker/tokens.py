"""What the token says, against the rules of its handling (wire rules, section 12): D1, D2, D5, D6."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tests.checker.base import Event, Limits, Ring, Violation, register, violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checker.trace import Trace


@register("D1")
def one_token(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """D1: a ring has one token. Its token_seq grows from acceptance to acceptance, over all members.

    So no token is accepted twice, by nobody, and an old one is never accepted after a newer one. What is sent on has
    the accepted token_seq plus 1. Who accepts a token counts as many as its predecessor has sent (`round`, where the
    core tells it).
    """
    rounds: dict[tuple[Ring, int], Event] = {}
    accepted: dict[Ring, Event] = {}
    held: dict[tuple[int, int], Event] = {}
    for event in trace.tokens:
        ring: Ring = tuple(event["ring"])
        holder = (event["node"], event["inc"])
        if event["ev"] == "token_in":
            before = accepted.get(ring)
            if before is not None and event["token_seq"] <= before["token_seq"]:
                yield violation(
                    "D1", "a token was accepted that is not newer than the last accepted one", before, event
                )
            else:
                accepted[ring] = event
            held[holder] = event
            sent = rounds.get((ring, event["node"]))
            if "round" in event and event["round"] != (sent["round"] if sent is not None else 1):
                yield violation("D1", "a node counts other tokens than its predecessor has sent", sent, event)
        else:
            if "round" in event:
                rounds[ring, event["to"]] = event
            before = held.get(holder)
            if before is not None and before["ring"] == event["ring"] and event["token_seq"] != before["token_seq"] + 1:
                yield violation("D1", "token_seq sent on is not the accepted one plus 1", before, event)


@register("D2")
def aru_is_sound(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """D2: aru <= seq on every token; a token leaves with aru <= the node's my_aru; my_aru never falls in a ring.

    And it is nowhere below what somebody already discarded as received by all; nothing of that is asked for.
    """
    for event in trace.tokens:
        if event["aru"] > event["seq"]:
            yield violation("D2", "the token's aru is beyond its seq", event)
    last: dict[tuple[int, Ring], Event] = {}
    discarded: dict[Ring, Event] = {}
    for event in trace.requests:
        ring: Ring = tuple(event["ring"])
        freed = discarded.get(ring)
        if event["ev"] == "discard":
            if freed is None or event["upto"] > freed["upto"]:
                discarded[ring] = event
            continue
        if event["aru"] > event["my_aru"]:
            yield violation("D2", "the token leaves with an aru that this node has not reached", event)
        before = last.get((event["node"], ring))
        if before is not None and event["my_aru"] < before["my_aru"]:
            yield violation("D2", "my_aru falls", before, event)
        last[event["node"], ring] = event
        if freed is not None and event["my_aru"] < freed["upto"]:
            yield violation("D2", "my_aru is below what was discarded as received by all", freed, event)
        if freed is not None and event["requested"] and min(event["requested"]) <= freed["upto"]:
            yield violation("D2", "a sequence number is asked for that was discarded", freed, event)


class Rotation:
    """The packets that each member of a ring sent at its last visit; fcc is their sum (fcc += n - my_trc)."""

    __slots__ = ("last", "total")

    def __init__(self) -> None:
        self.last: dict[int, Event] = {}
        self.total = 0

    def visit(self, event: Event) -> int:
        """Note a token_out; returns the sum before it."""
        before = self.last.get(event["node"])
        total = self.total
        self.total += packets(event) - (packets(before) if before else 0)
        self.last[event["node"]] = event
        return total


def packets(event: Event) -> int:
    """Packets that were sent at a visit, retransmissions included."""
    new: int = event["new"]
    retransmitted: int = event["retransmitted"]
    return new + retransmitted


@register("D5")
def flow_control_count(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """D5: fcc on a token is the number of packets, new and retransmitted, that all members sent at their last visits.

    From `fcc += n - my_trc; my_trc = n`, which starts at 0 on every ring. Rings with members that left no trace are
    not judged.
    """
    rotations: defaultdict[Ring, Rotation] = defaultdict(Rotation)
    for event in trace.tokens:
        ring: Ring = tuple(event["ring"])
        rotation = rotations[ring]
        if event["ev"] == "token_out":
            rotation.visit(event)
        if event["fcc"] != rotation.total and trace.fully_traced(ring):
            text = f"fcc is {event['fcc']}, but {rotation.total} packets were sent in the last rotation"
            yield violation("D5", text, *rotation.last.values(), event)
            rotation.total = event["fcc"]


@register("D6")
def windows(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """D6: a visit sends at most max_messages packets, and with them the rotation has at most window_size.

    From `allowed = min(max_messages, window_size - fcc)`, of which retransmissions take their part, fcc being counted
    here and not read. Judged only where all members have the same windows and left a trace.
    """
    if not limits.same_windows:
        return
    rotations: defaultdict[Ring, Rotation] = defaultdict(Rotation)
    for event in trace.requests:
        if event["ev"] != "token_out":
            continue
        ring: Ring = tuple(event["ring"])
        rotation = rotations[ring]
        known = rotation.last.get(event["node"])
        if known is not None and known["token_seq"] == event["token_seq"]:
            continue
        before = rotation.visit(event)
        allowed = max(0, min(limits.max_messages, limits.window_size - before))
        if packets(event) > allowed and trace.fully_traced(ring):
            text = f"{packets(event)} packets at one visit, where {allowed} are allowed after {before} in the rotation"
            yield violation("D6", text, event)
        elif event["new"] > event["allowed"]:
            yield violation("D6", "more new packets than the node found to be allowed", event)
