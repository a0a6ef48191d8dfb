"""What must come about once the network is stable: A8 and C13 to C16.

The host says with `stable` that from then on there are no more faults and exactly the nodes of the component are
connected and alive. Judged is what was due before the end of the run: a message is due one convergence time after it
was sent and the final ring was due.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.checker.base import Event, Limits, Violation, register, violation
from tests.checker.trace import Incarnation, Sent, Stay, Trace, name, ring_name

if TYPE_CHECKING:
    from collections.abc import Iterator


def _components(trace: Trace, limits: Limits) -> Iterator[tuple[Event, dict[int, Incarnation]]]:
    """Each component with the nodes that live in it, if the run was long enough for it to converge."""
    if trace.end is None:
        return
    for stable in trace.stable:
        lives = {node: trace.live(node) for node in stable["component"]}
        if stable["t"] + limits.convergence_s <= trace.end["t"]:
            yield stable, {node: life for node, life in lives.items() if life is not None}


@register("C13")
def membership_precision(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """C13: one convergence time after `stable`, and at the end, each node is in a ring of exactly the component.

    And in the same one as the others, at the end.
    """
    for stable, lives in _components(trace, limits):
        component = frozenset(stable["component"])
        due = stable["t"] + limits.convergence_s
        final: dict[int, Event | None] = {}
        for node, life in lives.items():
            confs = [conf for conf in life.confs if conf["kind"] == "reg"]
            at_due = next((conf for conf in reversed(confs) if conf["t"] <= due), None)
            final[node] = confs[-1] if confs else None
            for when, conf in ((f"at {due:.3f} s", at_due), ("at the end", final[node])):
                if conf is None or frozenset(conf["members"]) != component:
                    text = f"node {node} is not in a ring of exactly {sorted(component)} {when}"
                    yield violation("C13", text, stable, conf)
        exact = [conf for conf in final.values() if conf and frozenset(conf["members"]) == component]
        for conf in exact[1:]:
            if conf["ring"] != exact[0]["ring"]:
                yield violation("C13", "two nodes of the component end in different rings", exact[0], conf)


@register("C14")
def multicast_liveness(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """C14: what a node of the component accepted is sent.

    That it is then delivered by everybody is A8 and C16, by the node itself C15, and in earlier rings A3 and A4.
    """
    for stable, lives in _components(trace, limits):
        assert trace.end is not None
        for msg, submit in trace.submits.items():
            life = lives.get(msg[0])
            due = max(submit["t"], stable["t"] + limits.convergence_s) + limits.convergence_s
            if life is not None and life.inc == msg[1] and due <= trace.end["t"] and msg not in trace.sent:
                yield violation("C14", f"message {name(msg)} was accepted but never sent", submit, trace.end)


def _due(trace: Trace, limits: Limits) -> Iterator[tuple[Sent, Stay]]:
    """Each message of a ring that did not change any more, with each member's stay that ought to have delivered it."""
    for stable, lives in _components(trace, limits):
        assert trace.end is not None
        stays = [life.stay for life in lives.values() if life.stay is not None and life.stay.trans is None]
        if len(stays) != len(lives) or len({stay.ring for stay in stays}) != 1:
            continue
        for sent in trace.order.get(stays[0].ring, ()):
            due = max(sent.event["t"], stable["t"] + limits.convergence_s) + limits.convergence_s
            if due <= trace.end["t"]:
                for stay in stays:
                    if sent.msg not in stay.delivered:
                        yield sent, stay


def _undelivered(prop: str, sent: Sent, stay: Stay) -> Violation:
    text = f"node {stay.node} never delivers message {name(sent.msg)} of its last ring {ring_name(stay.ring)}"
    return violation(prop, text, sent.event, stay.conf)


@register("A8")
def reliable_delivery(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """A8: in a ring that does not change any more, every member delivers every AGREED message of the others."""
    for sent, stay in _due(trace, limits):
        if sent.sender != stay.node and not sent.safe:
            yield _undelivered("A8", sent, stay)


@register("C15")
def self_delivery_liveness(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """C15: in a ring that does not change any more, the sender delivers its own message."""
    for sent, stay in _due(trace, limits):
        if sent.sender == stay.node:
            yield _undelivered("C15", sent, stay)


@register("C16")
def safe_liveness(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """C16: in a ring that does not change any more, a SAFE message becomes stable, and the others deliver it."""
    for sent, stay in _due(trace, limits):
        if sent.sender != stay.node and sent.safe:
            yield _undelivered("C16", sent, stay)
