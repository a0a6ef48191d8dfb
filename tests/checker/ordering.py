"""Order without gaps: A5, A6, A9 and C12, from one walk over each stay.

In the order of its ring a message that is delivered while an earlier one is not has overtaken it. What was overtaken is
either delivered late or never (a gap). One such fault breaks several properties in general; it is reported once, under
the most telling of them:

    the overtaken message is SAFE                                   A9   (a SAFE message holds back what follows)
    a later message of the same sender overtook it                  C12  (FIFO, reliable FIFO)
    a message whose sender had delivered it before sending did      A5   (causal)
    otherwise                                                       A6   (agreed order without gaps)

A gap is no fault if it is one of a sender outside the transitional configuration T, and was overtaken in T only, by
messages of others.
Rank order in each ring, growing rings (C2), and delivery in com(r) only (C6, A2) together make the union of all
delivery sequences acyclic: (ring sequence, rank) is a linear extension of it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.checker.agreement import moved_together
from tests.checker.base import Limits, Ring, Violation, register, violation
from tests.checker.trace import Delivery, Sent, Stay, Trace, name

if TYPE_CHECKING:
    from collections.abc import Iterator

PENDING_MAX = 64
"""Overtaken messages of a stay that are looked at for a cause, so that a hopeless trace still takes linear time."""


@dataclass(slots=True)
class Overtaken:
    """A message that others overtook in the order of its ring."""

    sent: Sent
    by: Delivery
    late: Delivery | None = None
    """Its own delivery; None: there is none."""
    fifo_by: Delivery | None = None
    """What the same sender sent later and was delivered earlier."""
    causal_by: Delivery | None = None
    """What depends on it and was delivered earlier."""

    @property
    def prop(self) -> str:
        """The property that it is reported under."""
        if self.sent.safe:
            return "A9"
        if self.fifo_by:
            return "C12"
        return "A5" if self.causal_by else "A6"


def overtaken_in(trace: Trace, stay: Stay, senders: dict[tuple[int, Ring], Stay]) -> list[Overtaken]:
    """All faults of order in a stay."""
    order = trace.order.get(stay.ring, [])
    expected = 0
    missing: dict[int, Overtaken] = {}
    late: list[Overtaken] = []
    for delivery in stay.delivered.values():
        sent = delivery.sent
        if sent is None or sent.ring != stay.ring:
            continue
        if sent.rank == expected:
            expected += 1
        elif sent.rank > expected:
            for rank in range(expected, sent.rank):
                missing[rank] = Overtaken(order[rank], delivery)
            expected = sent.rank + 1
        elif (fault := missing.pop(sent.rank, None)) is not None:
            fault.late = delivery
            late.append(fault)
        if missing:
            _find_causes(missing, delivery, sent, senders)
    return late + [fault for fault in missing.values() if not _excused(stay, fault)]


def _find_causes(
    missing: dict[int, Overtaken], delivery: Delivery, sent: Sent, senders: dict[tuple[int, Ring], Stay]
) -> None:
    """Note which of the missing messages `delivery` must not come before."""
    at_sender = senders.get((sent.sender, sent.ring))
    for _, fault in zip(range(PENDING_MAX), missing.values(), strict=False):
        if fault.sent.sender == sent.sender:
            fault.fifo_by = fault.fifo_by or delivery
        elif at_sender is not None and fault.causal_by is None:
            known = at_sender.delivered.get(fault.sent.msg)
            if known is not None and known.index < sent.index:
                fault.causal_by = delivery


def _excused(stay: Stay, gap: Overtaken) -> bool:
    """Whether the gap is one that extended virtual synchrony allows (A6c; A5, second sentence)."""
    return gap.by.transitional and gap.sent.sender not in stay.trans_members and gap.fifo_by is None


def _all_overtaken(trace: Trace, prop: str) -> Iterator[tuple[Stay, Overtaken]]:
    """The faults that are to be reported under `prop`."""
    if trace.faults is None:
        senders = {(stay.node, stay.ring): stay for stay in trace.stays()}
        trace.faults = [(stay, fault) for stay in trace.stays() for fault in overtaken_in(trace, stay, senders)]
    for stay, fault in trace.faults:
        if fault.prop == prop:
            yield stay, fault


def _told(stay: Stay, fault: Overtaken) -> str:
    verb = "delivers late" if fault.late else "never delivers"
    return f"node {stay.node} {verb} message {name(fault.sent.msg)}, which"


@register("A5")
def causal_delivery(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """A5: if send(m) happened before send(m') in one ring, who delivers m' has delivered m earlier.

    Checked for the direct step, the sender of m' had delivered m; by induction over deliveries that is enough. In a
    transitional configuration m may lack if its sender is not in it.
    """
    for stay, fault in _all_overtaken(trace, "A5"):
        assert fault.causal_by is not None
        text = f"{_told(stay, fault)} message {name(fault.causal_by.msg)} depends on"
        yield violation("A5", text, fault.sent.event, fault.causal_by.event, fault.late.event if fault.late else None)


@register("C12")
def fifo(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """C12, FIFO and reliable FIFO: messages of one sender are delivered in the order in which it sent them, no gaps.

    That is the order of the ring, and for one sender also that of time. The causal and total clauses are A5 and A6.
    """
    for stay, fault in _all_overtaken(trace, "C12"):
        assert fault.fifo_by is not None
        text = f"{_told(stay, fault)} its sender sent before message {name(fault.fifo_by.msg)}"
        yield violation("C12", text, fault.sent.event, fault.fifo_by.event, fault.late.event if fault.late else None)
    for order in trace.order.values():
        last: dict[int, Sent] = {}
        for sent in order:
            before = last.get(sent.sender)
            if before is not None and before.index > sent.index:
                text = f"message {name(before.msg)} has the earlier place, but message {name(sent.msg)} was sent first"
                yield violation("C12", text, sent.event, before.event)
            last[sent.sender] = sent


@register("A9")
def no_spontaneous_levels(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """A9: a SAFE message holds back all that follow it in the order; deliveries have the level of the send."""
    for stay, fault in _all_overtaken(trace, "A9"):
        text = f"{_told(stay, fault)} is SAFE, after message {name(fault.by.msg)}, which follows it"
        yield violation("A9", text, fault.sent.event, fault.by.event, fault.late.event if fault.late else None)
    for delivery in trace.deliveries():
        sent = delivery.sent
        if sent is not None and delivery.event["level"] != sent.event["level"]:
            yield violation("A9", f"message {name(delivery.msg)} changed its level", sent.event, delivery.event)


@register("A6")
def agreed_order(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """A6: one total order without gaps.

    (a) Deliveries of ring r in com(r) are in the order of r (sequence number, then place in the packet), and a
    transitional configuration stands at the same place in the order at all who share it. Between a node like
    Corosync's and one that is not it may come earlier at the latter, where the next packet has a SAFE message: the
    former does not wait for it. (b) No gap in a regular configuration. (c) In a transitional configuration T gaps only
    for messages of senders outside T, and after the first hole nothing of senders outside T; except of nodes with
    which this node had been in Recovery since it installed r: they are in its deliver_memb (section 11), because it
    may owe them completeness.
    """
    for stay, fault in _all_overtaken(trace, "A6"):
        text = f"{_told(stay, fault)} precedes message {name(fault.by.msg)}"
        yield violation("A6", text, fault.sent.event, fault.by.event, fault.late.event if fault.late else None)
    yield from _after_a_hole(trace)
    for first, stay in moved_together(trace):
        early, later = sorted((first, stay), key=_delivered_before_change)
        counterpart = later.delivered.get(early.transitional[0].msg) if early.transitional else None
        if counterpart is not None and not counterpart.transitional:
            is_mixed = (early.node in limits.classic_nodes) != (later.node in limits.classic_nodes)
            waited = is_mixed and _waits_for_stability(trace, counterpart.sent)
            if _delivered_before_change(early) < _delivered_before_change(later) and not waited:
                text = f"message {name(counterpart.msg)} comes after the configuration change here, before it there"
                yield violation("A6", text, early.transitional[0].event, counterpart.event)


def _waits_for_stability(trace: Trace, sent: Sent | None) -> bool:
    """Whether this message is SAFE, or is in one packet with one that is: a packet waits as a whole."""
    if sent is None:
        return False
    return any(other.safe for other in trace.order.get(sent.ring, []) if other.seq == sent.seq)


def _delivered_before_change(stay: Stay) -> int:
    """Messages delivered in the regular configuration."""
    return sum(not delivery.transitional for delivery in stay.delivered.values())


def _after_a_hole(trace: Trace) -> Iterator[Violation]:
    """A6(c), second half."""
    partners: defaultdict[tuple[Ring, Ring], set[int]] = defaultdict(set)
    for incarnation in trace.incarnations.values():
        for _, ring, came_from in incarnation.recoveries:
            if came_from is not None:
                partners[came_from.ring, ring].add(incarnation.node)
    for stay in trace.stays():
        if not stay.transitional or not stay.incarnation.recoveries:
            continue
        owed = set(stay.trans_members)
        for _, ring, came_from in stay.incarnation.recoveries:
            if came_from is stay:
                owed |= partners[stay.ring, ring]
        yield from _strangers_after_hole(trace, stay, owed)


def _strangers_after_hole(trace: Trace, stay: Stay, owed: set[int]) -> Iterator[Violation]:
    order = trace.order.get(stay.ring, [])
    hole = next((sent for sent in order if sent.msg not in stay.delivered), None)
    if hole is None:
        return
    for delivery in stay.transitional:
        sent = delivery.sent
        if sent is not None and sent.ring == stay.ring and sent.rank > hole.rank and sent.sender not in owed:
            text = (
                f"message {name(sent.msg)} of a node outside is delivered beyond the hole at message {name(hole.msg)}"
            )
            yield violation("A6", text, stay.trans, hole.event, delivery.event)
