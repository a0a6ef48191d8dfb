"""Packets of a ring and what becomes of them: D3, D4."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tests.checker.base import Event, Limits, Ring, Violation, register, violation
from tests.checker.trace import Trace, name

if TYPE_CHECKING:
    from collections.abc import Iterator


@register("D3")
def one_packet_per_number(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """D3: (ring, seq) names one packet: new once, with one origin and one content, wherever it turns up again.

    The messages whose last fragment got that number are its origin's.
    """
    known: dict[tuple[Ring, int], Event] = {}
    new: dict[tuple[Ring, int], Event] = {}
    for event in trace.packets:
        if event["ev"] == "discard":
            continue
        key: tuple[Ring, int] = (tuple(event["ring"]), event["seq"])
        first = known.setdefault(key, event)
        if first["origin"] != event["origin"] or first["hash"] != event["hash"]:
            yield violation("D3", f"two packets have number {key[1]}", first, event)
        if event["ev"] == "packet_out" and event["new"] and new.setdefault(key, event) is not event:
            yield violation("D3", f"number {key[1]} was given out twice", new[key], event)
    for sent in trace.sent.values():
        packet = known.get((sent.ring, sent.seq))
        if packet is not None and packet["origin"] != sent.sender:
            text = f"message {name(sent.msg)} is in a packet of node {packet['origin']}"
            yield violation("D3", text, sent.event, packet)


class Received:
    """The sequence numbers that a node has of a ring: all up to `upto`, and some beyond."""

    __slots__ = ("beyond", "upto")

    def __init__(self, initial: int) -> None:
        self.upto = initial
        self.beyond: set[int] = set()

    def add(self, seq: int) -> None:
        """Note one more."""
        if seq == self.upto + 1:
            self.upto = seq
            while self.upto + 1 in self.beyond:
                self.upto += 1
                self.beyond.discard(self.upto)
        elif seq > self.upto:
            self.beyond.add(seq)


@register("D4")
def discard_when_all_have_it(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """D4: what a node frees has been received (or sent) by every member of the ring.

    Members that left no trace are not asked.
    """
    received: defaultdict[tuple[int, Ring], Received] = defaultdict(lambda: Received(limits.initial_sequence))
    for event in trace.packets:
        ring: Ring = tuple(event["ring"])
        if event["ev"] != "discard":
            received[event["node"], ring].add(event["seq"])
            continue
        for member in trace.members.get(ring, frozenset()) & trace.nodes:
            have = received[member, ring].upto
            if have < event["upto"]:
                text = f"freed up to {event['upto']}, but node {member} has only up to {have} without a hole"
                yield violation("D4", text, event)
