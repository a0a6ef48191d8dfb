"""What survivors of a ring agree on: A3, A4, A7, A10, and C8 and C11."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tests.checker.base import Limits, MessageId, Ring, Violation, register, violation
from tests.checker.trace import Delivery, Stay, Trace, is_safe, name, ring_name

if TYPE_CHECKING:
    from collections.abc import Iterator


@register("A3")
def self_delivery(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """A3: a node that sends in c and goes on to the next regular configuration has delivered its message in com(c).

    In a ring that is not left any more, C15 asks for it.
    """
    for stay in trace.stays():
        if stay.following is None:
            continue
        for sent in stay.sent:
            if sent.ring == stay.ring and sent.msg not in stay.delivered:
                text = f"node {stay.node} leaves ring {ring_name(stay.ring)} without its own message {name(sent.msg)}"
                yield violation("A3", text, sent.event, stay.trans, stay.following.conf)


@register("A4")
def failure_atomicity(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """A4: nodes that go from r through the same transitional configuration T deliver the same messages in com(r).

    Here: messages whose senders are in T. C8 does the others. A node that did not live to install the next regular
    configuration is not judged.
    """
    yield from _same_messages(trace, "A4", from_moved=True)


@register("C8")
def virtual_synchrony(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """C8 (= A4): the same, for messages whose senders did not come along into T."""
    yield from _same_messages(trace, "C8", from_moved=False)


def _same_messages(trace: Trace, prop: str, from_moved: bool) -> Iterator[Violation]:
    for first, stay in moved_together(trace):
        if first.delivered.keys() == stay.delivered.keys():
            continue
        for has, misses in ((first, stay), (stay, first)):
            for msg in has.delivered.keys() - misses.delivered.keys():
                if (msg[0] in has.trans_members) == from_moved:
                    text = f"message {name(msg)} was delivered by node {has.node} but not by node {misses.node}"
                    yield violation(prop, text, has.delivered[msg].event, has.trans, misses.trans)


def moved_together(trace: Trace) -> Iterator[tuple[Stay, Stay]]:
    """Pairs of stays that were closed by the same transitional configuration: the first of each group, and another."""
    groups: defaultdict[tuple[Ring, str], list[Stay]] = defaultdict(list)
    for stay in trace.stays():
        if stay.trans is not None and stay.following is not None:
            groups[stay.ring, stay.trans["cfg"]].append(stay)
    for group in groups.values():
        for stay in group[1:]:
            yield group[0], stay


@register("A7")
def safe_delivery(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """A7: a SAFE message that is delivered in the regular configuration of r is, and will be delivered, at all of r.

    (c) When p delivers it in regular r, every member of r has its packet. (a) Every member of r had installed r, and
    delivers it in com(r) unless it fails or leaves. That all who share a transitional configuration deliver the same
    there (b) is A4 and C8, and that what goes before is as safe, C11. A node that is like Corosync's is no p:
    it promises nothing. Members that left no trace are not asked.
    """
    for delivery, missing in trace.not_held:
        stay = delivery.stay
        sent = delivery.sent
        if stay is None or sent is None or not sent.safe or stay.node in limits.classic_nodes:
            continue
        if lacking := sorted(missing & trace.nodes):
            text = f"node {stay.node} delivers SAFE message {name(delivery.msg)}, which node {lacking[0]} does not have"
            yield violation("A7", text, delivery.event)
    for ring, stays in trace.stays_by_ring().items():
        first: dict[MessageId, Delivery] = {}
        for stay in stays:
            if stay.node not in limits.classic_nodes:
                safe = [d for d in stay.regular if is_safe(d.event) and d.sent is not None and d.sent.safe]
                first |= {delivery.msg: delivery for delivery in safe if delivery.msg not in first}
        for msg, delivery in first.items():
            yield from _not_with_all(trace, ring, stays, msg, delivery)


def _not_with_all(
    trace: Trace, ring: Ring, stays: list[Stay], msg: MessageId, delivery: Delivery
) -> Iterator[Violation]:
    """A7(a) for one message that was delivered in the regular configuration."""
    installed = {stay.node for stay in stays if stay.conf_index < delivery.index}
    for node in sorted((trace.members.get(ring, frozenset()) & trace.nodes) - installed):
        text = f"SAFE message {name(msg)} is delivered in ring {ring_name(ring)}, which node {node} has not installed"
        yield violation("A7", text, delivery.event)
    for stay in stays:
        if stay.following is not None and msg not in stay.delivered:
            text = f"node {stay.node} leaves ring {ring_name(ring)} without SAFE message {name(msg)}"
            yield violation("A7", text, delivery.event, stay.trans)


@register("A10")
def pause_is_failure(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """A10: a node that was paused, while another member of its ring went on without it, knows that the ring is gone.

    It delivers nothing that it sent itself since the freeze in the regular configuration of that ring, and does not
    take those who went on without it along into its next transitional configuration.
    """
    by_ring = trace.stays_by_ring()
    for incarnation in trace.incarnations.values():
        for frozen, thawed, stay in incarnation.pauses:
            if stay is None:
                continue
            for other in by_ring[stay.ring]:
                following = other.following
                if following is None or not frozen < following.conf_index < thawed or stay.node in following.members:
                    continue
                yield from _as_if_intact(stay, other, frozen)


def _as_if_intact(stay: Stay, other: Stay, frozen: int) -> Iterator[Violation]:
    assert other.following is not None
    for sent in stay.sent:
        delivery = stay.delivered.get(sent.msg)
        if sent.index > frozen and delivery is not None and not delivery.transitional:
            text = f"node {stay.node} was paused, lost its ring, and delivers message {name(sent.msg)} as if it had not"
            yield violation("A10", text, other.following.conf, sent.event, delivery.event)
    if other.node in stay.trans_members:
        text = f"node {stay.node} takes node {other.node} along, which went on without it"
        yield violation("A10", text, other.following.conf, stay.trans)


@register("C11")
def safe_prefix(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """C11, the prefix of A7(a): what precedes a SAFE message is as safe as the message itself.

    If p delivers SAFE m in regular r, every member of r that goes on to a next configuration has delivered, in com(r),
    every message before m in the order of r. (m itself is A7.) A member that fails or leaves is excused. Rings with
    members that left no trace (C nodes) are not judged: nobody knows there what is stable.
    """
    for ring, stays in trace.stays_by_ring().items():
        order = trace.order.get(ring)
        if not order or not trace.fully_traced(ring):
            continue
        last = None
        for stay in stays:
            if stay.node in limits.classic_nodes:
                continue
            for delivery in reversed(stay.regular):
                sent = delivery.sent
                if sent is not None and sent.safe and sent.ring == ring:
                    if last is None or last.sent is None or sent.rank > last.sent.rank:
                        last = delivery
                    break
        if last is None or last.sent is None:
            continue
        for stay in stays:
            if stay.following is not None and len(stay.delivered) < len(order):
                for sent in order[: last.sent.rank]:
                    if sent.msg not in stay.delivered:
                        text = f"node {stay.node} lacks message {name(sent.msg)}, which precedes a SAFE one"
                        yield violation("C11", text, last.event, sent.event, stay.trans)
