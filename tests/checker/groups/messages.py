"""What holds for each message: A1, A3, B5 to B8, C5."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tests.checker.groups.base import GroupLimits, GroupViolation, register

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checker.base import Event
    from tests.checker.groups.base import Member
    from tests.checker.groups.trace import GroupTrace, Life, Span

FATES = ("gordered", "gunknown", "grefuse", "gfail")
CRASH_MARGIN_S = 5.0
"""So long before and after a kill the ring of its node must have lived for a message to be owed to others."""


@register("A1")
def sent_before_delivered(trace: GroupTrace, _: GroupLimits) -> Iterator[GroupViolation]:
    """What is delivered was sent, once, before, by whom it names."""
    for event in trace.resent:
        yield GroupViolation("A1", f"message {event['msg']} is sent twice", (event,))
    for msg, places in trace.deliveries.items():
        sent = trace.sent.get(msg)
        for _segment, event in places:
            if sent is None:
                yield GroupViolation("A1", f"message {msg} is delivered and was never sent", (event,))
            elif event["sender"] != [sent["node"], sent["pid"]]:
                yield GroupViolation("A1", f"message {msg} is delivered as another's", (sent, event))
            elif event["t"] < sent["t"]:
                yield GroupViolation("A1", f"message {msg} is delivered before it is sent", (sent, event))


@register("C5")
def no_duplicates(trace: GroupTrace, _: GroupLimits) -> Iterator[GroupViolation]:
    """Nothing is delivered twice to one process, whatever became of its connections."""
    for msg, places in trace.deliveries.items():
        seen: dict[str, Event] = {}
        for _segment, event in places:
            process = event["proc"].partition("#")[0]
            if process in seen:
                yield GroupViolation("C5", f"{process} is given message {msg} twice", (seen[process], event))
            seen[process] = event


@register("A3")
def self_delivery(trace: GroupTrace, _: GroupLimits) -> Iterator[GroupViolation]:
    """What the client calls ordered was, or will be, delivered to its sender, unless that left the group."""
    for life in trace.lives.values():
        delivered = {event["msg"] for event in life.events if event["ev"] == "gdeliver"}
        for event in life.events:
            if event["ev"] == "gordered" and life.killed is None and life.over is None:
                for msg in event["msgs"]:
                    if msg not in delivered:
                        yield GroupViolation("A3", f"{msg} was ordered, and its sender did not get it", (event,))


@register("B5")
def nothing_from_outside(trace: GroupTrace, _: GroupLimits) -> Iterator[GroupViolation]:
    """Messages come from nodes with a member in the view, and only to who is a member."""
    for msg, places in trace.deliveries.items():
        for segment, event in places:
            if segment is None:
                yield GroupViolation("B5", f"{event['proc']} is given {msg} while it is no member", (event,))
    for span in trace.spans():
        nodes: set[int] = set()
        view: Event | None = None
        for event in span.events():
            if event["ev"] == "gconf":
                view, nodes = event, {member[0] for member in event["members"]}
            elif event["sender"][0] not in nodes and view is not None:
                yield GroupViolation("B5", f"{span.life.proc} is given a message from outside its view", (view, event))


@register("B6")
def whole_and_in_order(trace: GroupTrace, _: GroupLimits) -> Iterator[GroupViolation]:
    """The messages of one sender in the order in which they were sent, each as it was sent."""
    for span in trace.spans():
        last: dict[str, tuple[int, Event]] = {}
        for event in span.events():
            if event["ev"] != "gdeliver":
                continue
            sent = trace.sent.get(event["msg"])
            if sent is not None and (sent["crc"], sent["size"]) != (event["crc"], event["size"]):
                yield GroupViolation("B6", f"message {event['msg']} is not what was sent", (sent, event))
            sender, _, number = event["msg"].rpartition("/")
            if not number.isdigit():
                continue
            before = last.get(sender)
            if before is not None and before[0] > int(number):
                text = f"{span.life.proc} gets {event['msg']} after {before[1]['msg']}"
                yield GroupViolation("B6", text, (before[1], event))
            last[sender] = int(number), event


@register("B7")
def accepted_is_ordered(trace: GroupTrace, _: GroupLimits) -> Iterator[GroupViolation]:
    """What was accepted is ordered, or reported as unknown by number; what was sent has an outcome."""
    for life in trace.lives.values():
        yield from _outcomes(life)
        if life.killed is not None:
            yield from _left_by_the_dead(trace, life)


def _outcomes(life: Life) -> Iterator[GroupViolation]:
    accepted: dict[str, Event] = {}
    fates: dict[str, set[str]] = defaultdict(set)
    sent: dict[str, Event] = {}
    for event in life.events:
        kind = event["ev"]
        if kind == "gsend":
            sent[event["msg"]] = event
        elif kind == "gaccept":
            accepted.update(dict.fromkeys(event["msgs"], event))
        elif kind in FATES:
            for msg in event.get("msgs", [event.get("msg")]):
                fates[msg].add(kind)
        elif kind == "gdeliver" and event["msg"].rpartition("/")[0] == life.proc:
            fates[event["msg"]].add("gdeliver")
        if kind == "gunknown" and event["count"] != len(event["msgs"]):
            text = f"{life.proc}: {event['count']} numbers of unknown outcome, {len(event['msgs'])} are requests"
            yield GroupViolation("B7", text, (event,))
    over = life.killed is not None or life.over is not None
    for msg, event in sent.items():
        fate = fates[msg]
        if "gdeliver" in fate and "grefuse" in fate:
            continue  # B8
        if "gordered" in fate and fate & {"gunknown", "gfail", "grefuse"}:
            yield GroupViolation("B7", f"{msg} has two outcomes: {sorted(fate)}", (event,))
        elif not over and not fate & set(FATES):
            known = accepted.get(msg)
            text = f"{msg} was accepted and has no outcome" if known else f"{msg} has no outcome"
            yield GroupViolation("B7", text, (event, known) if known else (event,))
        elif not over and "gfail" in fate and "gunknown" not in fate:
            yield GroupViolation("B7", f"{msg} failed, and its number was not among the unknown", (event,))
        elif "grefuse" in fate and msg in accepted:
            yield GroupViolation("B7", f"{msg} was accepted, and then refused", (event, accepted[msg]))


def _left_by_the_dead(trace: GroupTrace, life: Life) -> Iterator[GroupViolation]:
    """What a killed process had accepted is delivered to all who stayed in the ring with its node."""
    assert life.killed is not None
    died_s = life.killed["t"]
    own = {event["msg"] for event in life.events if event["ev"] == "gdeliver"}
    group_of = {event["msg"]: event["group"] for event in life.events if event["ev"] == "gsend"}
    done = {
        m for e in life.events if e["ev"] in ("gunknown", "gfail", "grefuse") for m in e.get("msgs", [e.get("msg")])
    }
    ring_died_s = [event["t"] for event in trace.of_harness("ringkill") if event["node"] == life.node]
    for event in life.events:
        if event["ev"] != "gaccept":
            continue
        if any(event["t"] - CRASH_MARGIN_S < at_s < died_s + CRASH_MARGIN_S for at_s in ring_died_s):
            continue
        for msg in event["msgs"]:
            if msg in own or msg in done:
                continue
            witnesses = _witnesses(trace, life, group_of[msg], event["t"], died_s)
            got = {segment.span.life.proc for segment, _ in trace.deliveries.get(msg, ()) if segment is not None}
            for witness in witnesses:
                if witness.life.proc not in got:
                    text = f"{msg} was accepted, its sender killed, and {witness.life.proc} never gets it"
                    yield GroupViolation("B7", text, (event, life.killed))
                    return


def _witnesses(trace: GroupTrace, dead: Life, group: str, accepted_s: float, died_s: float) -> list[Span]:
    """Members on the dead one's own node, who were there all the time and whose ring lived on."""
    return [
        span
        for span in trace.spans()
        if span.group == group
        and span.life.node == dead.node
        and span.life is not dead
        and next(span.events())["t"] < accepted_s - CRASH_MARGIN_S
        and (span.ended is None or span.ended["t"] > died_s + CRASH_MARGIN_S)
        and span.life.events[-1]["t"] > died_s + CRASH_MARGIN_S
    ]


@register("B8")
def bounded_and_without_effect(trace: GroupTrace, limits: GroupLimits) -> Iterator[GroupViolation]:
    """A refused message is never delivered; what is on its way is bounded."""
    for life in trace.lives.values():
        sizes: dict[str, int] = {}
        outstanding = 0
        refused: dict[str, Event] = {}
        for event in life.events:
            kind = event["ev"]
            if kind == "gsend":
                sizes[event["msg"]] = event["size"]
                if sizes and outstanding > limits.outstanding_bytes_max:
                    text = f"{life.proc} has {outstanding} bytes on their way, and one more is taken"
                    yield GroupViolation("B8", text, (event,))
                outstanding += event["size"]
            elif kind == "grefuse":
                refused[event["msg"]] = event
                outstanding -= sizes.pop(event["msg"], 0)
            elif kind in ("gdeliver", "gfail"):
                outstanding -= sizes.pop(event["msg"], 0)
        for msg, event in refused.items():
            for _, delivery in trace.deliveries.get(msg, ())[:1]:
                yield GroupViolation("B8", f"{msg} was refused and is delivered", (event, delivery))


def who(member: Member) -> str:
    """A member as violations call it."""
    return f"{member[0]}/{member[1]}"
