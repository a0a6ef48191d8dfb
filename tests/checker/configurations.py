"""Configurations: A2, A11, and C1, C2, C3, C9, C10, which each take one clause of what A2 and A11 say.

Who moves with whom is read from the stays: a node moves from V to V' if V' is the regular configuration that it
installs next after V.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tests.checker.base import Event, Limits, Ring, Violation, register, violation
from tests.checker.trace import Incarnation, Stay, Trace, ring_name

if TYPE_CHECKING:
    from collections.abc import Iterator


@register("A2")
def configurations_form_a_sequence(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """A2(a), (b) and (d): the sequence of configurations at one node, and agreement on the members of each.

    Checked: trans, reg, trans, reg ... each chained to the ring before; labels name the rings that the event names;
    `joined` of a regular configuration is what the transitional one did not have; events carry the configuration that
    is installed; all nodes give one configuration the same members. Clause (d), the consistent cut, follows from this
    together with C6 and C7: a message sent in c is delivered nowhere before c. Self inclusion is C1, growing
    sequences C2, the first event C3, the content of transitional sets (clause c) C9, lists of those who left A11.
    """
    named: dict[str, tuple[frozenset[int], Event]] = {}
    for incarnation in trace.incarnations.values():
        yield from _chain(incarnation)
        for event in incarnation.confs:
            members = frozenset(event["members"])
            first = named.setdefault(event["cfg"], (members, event))
            if first[0] != members:
                yield violation("A2", f"two nodes differ about the members of {event['cfg']}", first[1], event)
    for stay in trace.stays():
        for deliveries, conf in ((stay.regular, stay.conf), (stay.transitional, stay.trans)):
            for delivery in deliveries:
                if conf is not None and delivery.event["cfg"] != conf["cfg"]:
                    text = f"delivered in {delivery.event['cfg']} while {conf['cfg']} is installed"
                    yield violation("A2", text, conf, delivery.event)


def _chain(incarnation: Incarnation) -> Iterator[Violation]:
    """Each configuration continues the one before it."""
    before: Event | None = None
    for conf in incarnation.confs:
        if conf["kind"] == "trans":
            old, new = conf["old"], conf["new"]
            if conf["cfg"] != f"t:{old[0]}:{old[1]}:{new[0]}:{new[1]}" or conf["ring"] != old:
                yield violation("A2", "a transitional configuration whose label and rings differ", conf)
            if before is not None and (before["kind"] != "reg" or before["ring"] != old):
                yield violation(
                    "A2", "a transitional configuration that does not close the installed ring", before, conf
                )
        else:
            ring = conf["ring"]
            if conf["cfg"] != f"r:{ring[0]}:{ring[1]}":
                yield violation("A2", "a regular configuration whose label and ring differ", conf)
            if before is not None and (before["kind"] != "trans" or before["new"] != ring):
                yield violation("A2", "a regular configuration that no transitional one leads to", before, conf)
            elif before is not None and set(conf["joined"]) != set(conf["members"]) - set(before["members"]):
                yield violation("A2", "joined is not what the new ring has beyond the transitional set", before, conf)
        before = conf


@register("C1")
def self_inclusion(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """C1, a clause of A2(a): a node is a member of every configuration that it installs."""
    for incarnation in trace.incarnations.values():
        for conf in incarnation.confs:
            if incarnation.node not in conf["members"]:
                yield violation("C1", f"node {incarnation.node} installs a configuration without itself", conf)


@register("C2")
def local_monotonicity(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """C2, a clause of A2(a): regular configurations of a node have increasing ring sequences, also across restarts.

    Judged by what was installed (conf). After a restart that lost its state and was given a sequence below that of an
    earlier life (no sane wall clock), only the new life counts.
    """
    highest: dict[int, Event] = {}
    for (node, _), incarnation in sorted(trace.incarnations.items()):
        start = incarnation.start
        before = highest.get(node)
        if start and before and start.get("lost_state") and start["stored"] < before["ring"][1]:
            before = None
        for conf in incarnation.confs:
            if conf["kind"] == "reg":
                if before is not None and before["ring"][1] >= conf["ring"][1]:
                    yield violation("C2", f"node {node} installs a ring whose sequence does not grow", before, conf)
                before = conf
        if before is not None:
            highest[node] = before


@register("C3")
def initial_view(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """C3 (= A2e): the first event of an incarnation is a configuration, and it comes from nothing.

    That is, from the pseudo ring [itself, stored sequence + 1] with itself as only member (wire rules, section 9: at
    the start the ring sequence is what was stored, plus 1). Operational is always entered with a transitional
    configuration first (section 11), so a life that begins with a regular one has lost an event.
    """
    for incarnation in trace.incarnations.values():
        first, start = incarnation.first, incarnation.start
        if first is None:
            continue
        if first["ev"] != "conf":
            yield violation("C3", "the first event of a life is not a configuration", start, first)
        elif start is not None:
            nothing = [incarnation.node, start["stored"] + 1]
            alone = set(first["members"]) <= {incarnation.node}
            if first["kind"] != "trans" or list(first["old"]) != nothing or not alone:
                yield violation("C3", "a life does not begin with the node alone in its own ring", start, first)


def _moves(trace: Trace) -> dict[Ring, list[Stay]]:
    """The stays that were left for another one, by the ring that was left."""
    moves: defaultdict[Ring, list[Stay]] = defaultdict(list)
    for stay in trace.stays():
        if stay.following is not None and stay.trans is not None:
            moves[stay.ring].append(stay)
    return moves


def _next_ring(stay: Stay) -> Ring:
    assert stay.following is not None
    return stay.following.ring


@register("C9")
def transitional_set(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """C9 (= A2c): what a transitional set T of p from V to V' holds, apart from p itself (that is C1).

    (1) T is a subset of V and of V'. (2) All who move from V to V' are in it. (3) Those in it who install V' come
    from V. Those in it who move from V to somewhere else are the business of A11 and C10.
    """
    moves = _moves(trace)
    came_from: dict[tuple[int, Ring], Stay] = {}
    for stays in moves.values():
        for stay in stays:
            came_from[stay.node, _next_ring(stay)] = stay
    for ring, stays in moves.items():
        groups: defaultdict[Ring, list[Stay]] = defaultdict(list)
        for stay in stays:
            groups[_next_ring(stay)].append(stay)
        for new, group in groups.items():
            movers = {stay.node: stay for stay in group}
            for stay in group:
                yield from _transitional_set_of(stay, ring, new, movers, came_from)


def _transitional_set_of(
    stay: Stay, ring: Ring, new: Ring, movers: dict[int, Stay], came_from: dict[tuple[int, Ring], Stay]
) -> Iterator[Violation]:
    assert stay.following is not None
    others = stay.trans_members - {stay.node}
    outside = others - (stay.members & stay.following.members)
    if outside:
        text = f"the transitional set has {sorted(outside)}, who are not in both rings"
        yield violation("C9", text, stay.conf, stay.trans, stay.following.conf)
    for node, other in movers.items():
        if node not in stay.trans_members and node != stay.node:
            text = f"node {node} makes the same move, but is not in the transitional set of node {stay.node}"
            yield violation("C9", text, stay.trans, other.trans)
    for node in others:
        other_stay = came_from.get((node, new))
        if other_stay is not None and other_stay.ring != ring:
            text = f"node {node} is in the transitional set, but came from {ring_name(other_stay.ring)}"
            yield violation("C9", text, stay.trans, other_stay.trans)


def _parted(trace: Trace) -> Iterator[tuple[Stay, Stay]]:
    """Pairs of stays in one ring that went on to different rings, each pair in both orders."""
    for stays in _moves(trace).values():
        if len({_next_ring(stay) for stay in stays}) > 1:
            for stay in stays:
                for other in stays:
                    if other.node in stay.members and _next_ring(other) != _next_ring(stay):
                        yield stay, other


@register("C10")
def agreement_on_successors(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """C10: two nodes that leave V, each with the other in its transitional set, go to the same ring."""
    for stay, other in _parted(trace):
        if stay.node < other.node and other.node in stay.trans_members and stay.node in other.trans_members:
            text = "each takes the other along, yet they go to different rings"
            yield violation("C10", text, stay.trans, other.trans)


@register("A11")
def symmetric_departure(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """A11: of two nodes that part, neither has the other in its transitional set, and each lists the other as left.

    Both having each other is C10. One case is no violation: q entered Recovery of p's new ring, did its part there
    (p cannot get to Operational without q's visits, section 11) and then lost the ring before it got to Operational
    itself. p could not know. q then still has p's old ring behind it, and goes elsewhere.
    """
    for stay, other in _parted(trace):
        if other.node not in stay.trans_members or stay.node in other.trans_members:
            continue
        recoveries = other.incarnation.recoveries
        if recoveries and all(ring != _next_ring(stay) for _, ring, _ in recoveries):
            text = f"node {stay.node} takes node {other.node} along, which goes elsewhere"
            yield violation("A11", text, stay.trans, other.trans)
    for stay in trace.stays():
        if stay.trans is None:
            continue
        gone = stay.members - stay.trans_members
        if set(stay.trans["left"]) != gone:
            text = f"left should be {sorted(gone)}: the old members without the transitional ones"
            yield violation("A11", text, stay.conf, stay.trans)
        conf = stay.following.conf if stay.following else None
        if conf is not None and conf.get("left") and set(conf["left"]) != gone:
            yield violation("A11", f"left of the regular configuration should be {sorted(gone)}", stay.trans, conf)
