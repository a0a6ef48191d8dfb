"""What is delivered, and where: A1, and C4 to C7, which each take one clause of A1(b) and (c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.checker.base import Limits, Violation, register, violation
from tests.checker.trace import Delivery, Trace, closed_ring, name

if TYPE_CHECKING:
    from collections.abc import Iterator


@register("A1")
def basic_delivery(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """A1(a), (d), and of (b) that a message is submitted and sent once, by its named sender.

    The list is in real time order, so causality has no cycle if every delivery stands after its send and every send
    after its submit. Nothing is done by an incarnation after its end. Delivered without a send at all is C4, delivered
    twice C5, delivered in a wrong ring C6 and C7.
    """
    for ended, event in trace.posthumous:
        yield violation("A1", "an incarnation goes on after its end", ended, event)
    for what, pairs in (("submitted", trace.resubmits), ("sent", trace.resent)):
        for first, again in pairs:
            yield violation("A1", f"message {'.'.join(map(str, first['msg']))} was {what} twice", first, again)
    for sent in trace.sent.values():
        if sent.sender not in trace.nodes:
            continue
        event = sent.event
        submit = trace.submits.get(sent.msg)
        if (event["node"], event["inc"]) != sent.msg[:2]:
            yield violation("A1", f"message {name(sent.msg)} was sent by another node", event)
        if submit is None:
            yield violation("A1", f"message {name(sent.msg)} was sent but never submitted", event)
        elif trace.submit_index[sent.msg] > sent.index:
            yield violation("A1", f"message {name(sent.msg)} was sent before it was submitted", event, submit)
    for delivery in trace.deliveries():
        yield from _delivered_as_sent(trace, delivery)


def _delivered_as_sent(trace: Trace, delivery: Delivery) -> Iterator[Violation]:
    sent, event = delivery.sent, delivery.event
    if sent is None:
        return
    if delivery.index < sent.index:
        yield violation("A1", f"message {name(delivery.msg)} was delivered before it was sent", event, sent.event)
    origin = trace.submits.get(delivery.msg, sent.event)
    if event["hash"] != origin.get("hash", event["hash"]) or event["size"] != origin.get("size", event["size"]):
        yield violation("A1", f"message {name(delivery.msg)} was delivered with other content", origin, event)


@register("C4")
def delivery_integrity(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """C4, a clause of A1(b): what is delivered was sent, and has the place in the order that it was sent with.

    Messages of nodes that left no trace are taken as they come.
    """
    for delivery in trace.deliveries():
        if delivery.sent is None:
            yield violation("C4", f"message {name(delivery.msg)} was delivered but never sent", delivery.event)
        elif delivery.event["seq"] != delivery.sent.seq:
            text = f"message {name(delivery.msg)} was delivered under another sequence number"
            yield violation("C4", text, delivery.sent.event, delivery.event)


@register("C5")
def no_duplication(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """C5 (= A1c): no incarnation delivers a message twice, not even once in r and once in its transitional one."""
    for incarnation in trace.incarnations.values():
        seen: dict[tuple[int, int, int], Delivery] = {}
        for delivery in incarnation.deliveries:
            first = seen.setdefault(delivery.msg, delivery)
            if first is not delivery:
                text = f"node {incarnation.node} delivers message {name(delivery.msg)} twice"
                yield violation("C5", text, first.event, delivery.event)


@register("C6")
def same_view_delivery(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """C6, from A1(b) and A2: everybody delivers a message in com(r) of the one ring r that the delivery names.

    So reg(cfg) of the delivery is the ring of its packet. That the ring is also that of the sender is C7.
    """
    cache: dict[str, tuple[int, int] | None] = {}
    for delivery in trace.deliveries():
        event = delivery.event
        cfg = event["cfg"]
        if cfg not in cache:
            cache[cfg] = closed_ring(cfg)
        if cache[cfg] != tuple(event["ring"]):
            text = f"message {name(delivery.msg)} of ring {event['ring']} was delivered in {cfg}"
            yield violation("C6", text, delivery.stay.conf if delivery.stay else None, event)


@register("C7")
def sending_view_delivery(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """C7 (= A1b): a message is sent in the regular configuration that its sender has installed, and delivered in it.

    Fragments: it counts as sent in the ring that ordered its last fragment.
    """
    for sent in trace.sent.values():
        if sent.sender not in trace.nodes:
            continue
        stay = sent.stay
        closed = stay is None or 0 <= stay.trans_index < sent.index
        conf = stay.conf if stay and not closed else None
        if conf is None or conf["cfg"] != sent.event["cfg"] or closed_ring(conf["cfg"]) != sent.ring:
            text = f"message {name(sent.msg)} was sent in a configuration that was not installed"
            yield violation("C7", text, conf, sent.event)
    for delivery in trace.deliveries():
        origin = delivery.sent
        if origin is not None and tuple(delivery.event["ring"]) != origin.ring:
            text = f"message {name(delivery.msg)} was delivered in another ring than it was sent in"
            yield violation("C7", text, origin.event, delivery.event)
