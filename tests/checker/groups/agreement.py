"""What holds between members: A4, A5, A6, A7, B3, B9, C14."""

from __future__ import annotations

from collections import defaultdict, deque
from itertools import combinations
from typing import TYPE_CHECKING

from tests.checker.groups.base import GroupLimits, GroupViolation, register

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checker.base import Event
    from tests.checker.groups.trace import GroupTrace, Segment


def _key(event: Event) -> object:
    """What two members have to see alike."""
    if event["ev"] == "gdeliver":
        return event["msg"]
    return repr((event["members"], event["joined"], event["left"]))


def _lists_node_as_left(segment: Segment, node: int) -> bool:
    return any(
        change[0] == node and change[2] == "nodedown"
        for event in segment.events[segment.trailing() :]
        if event["ev"] == "gconf"
        for change in event["left"]
    )


def together(one: Segment, other: Segment) -> bool:
    """Whether the two go to the next ring side by side."""
    return (
        one.closing is not None
        and other.closing is not None
        and one.closing["ring"] == other.closing["ring"]
        and not _lists_node_as_left(one, other.span.life.node)
        and not _lists_node_as_left(other, one.span.life.node)
    )


def common(one: Segment, other: Segment) -> tuple[list[Event], list[Event]] | None:
    """What both saw since the later of their joins; None if they were not seen in the group at once in this ring."""
    mine, theirs = one.events, other.events
    if one.is_first() and (at := join_seen_at(other, one)) is not None:
        return mine, theirs[at:]
    if other.is_first() and (at := join_seen_at(one, other)) is not None:
        return mine[at:], theirs
    if one.is_first() or other.is_first():
        return None
    return mine, theirs


def join_seen_at(watcher: Segment, joiner: Segment) -> int | None:
    """Index of the event with which `joiner` begins, among those of `watcher`; None if it is not certainly there.

    Who comes and goes joins more than once with the same membership: the first message after it says which it was.
    """
    join = _key(joiner.events[0])
    first = next((event["msg"] for event in joiner.events if event["ev"] == "gdeliver"), None)
    found = None
    for index, event in enumerate(watcher.events):
        if event["ev"] == "gconf":
            if _key(event) == join:
                found = index
        elif event["msg"] == first:
            return found
    return None


def _regular(events: list[Event]) -> list[Event]:
    """Up to the last message of the regular configuration."""
    size = next((index for index, event in enumerate(events) if event.get("trans")), len(events))
    while size and events[size - 1]["ev"] != "gdeliver":
        size -= 1
    return events[:size]


def _pairs(trace: GroupTrace) -> Iterator[tuple[Segment, Segment]]:
    for segments in trace.by_ring().values():
        for one, other in combinations(segments, 2):
            if one.span.life is not other.span.life:
                yield one, other


@register("B3")
def same_sequence(trace: GroupTrace, _: GroupLimits) -> Iterator[GroupViolation]:
    """Members of one ring see the same sequence of messages and memberships since the later of their joins."""
    for one, other in _pairs(trace):
        both = common(one, other)
        if both is None:
            continue
        mine, theirs = both if together(one, other) else (_regular(both[0]), _regular(both[1]))
        for first, second in zip(mine, theirs, strict=False):
            if _key(first) != _key(second):
                if not _is_parting(one, other, first, second):
                    text = f"{one.span.life.proc} and {other.span.life.proc} differ in ring {one.ring}"
                    yield GroupViolation("B3", text, (first, second))
                break


def _is_parting(one: Segment, other: Segment, first: Event, second: Event) -> bool:
    """A membership of a transitional configuration looks like any other: who parts may see it alone."""
    return not together(one, other) and "gconf" in (first["ev"], second["ev"]) and _near_end(one, first, other, second)


def _near_end(one: Segment, first: Event, other: Segment, second: Event) -> bool:
    """Whether one of them has only messages of a transitional configuration from there on."""
    for segment, event in ((one, first), (other, second)):
        rest = segment.events[segment.events.index(event) :]
        if not any(each["ev"] == "gdeliver" and not each["trans"] for each in rest):
            return True
    return False


@register("A4")
def virtual_synchrony(trace: GroupTrace, _: GroupLimits) -> Iterator[GroupViolation]:
    """Who goes from ring to ring together has delivered the same in the first."""
    for one, other in _pairs(trace):
        both = common(one, other)
        if both is None or not together(one, other):
            continue
        mine, theirs = ({event["msg"]: event for event in events if event["ev"] == "gdeliver"} for events in both)
        for msg in mine.keys() ^ theirs.keys():
            lacks = other if msg in mine else one
            assert one.closing is not None
            text = f"{lacks.span.life.proc} lacks {msg}, which the other one had in ring {one.ring}"
            yield GroupViolation("A4", text, ((mine.get(msg) or theirs[msg]), one.closing))


@register("A5")
def causal(trace: GroupTrace, _: GroupLimits) -> Iterator[GroupViolation]:
    """What its sender had delivered before it sent a message comes before that message everywhere in that ring."""
    for life in trace.lives.values():
        cause: dict[str, Event] = {}
        causes: dict[str, Event] = {}
        for event in life.events:
            if event["ev"] == "gdeliver":
                cause[event["group"]] = event
            elif event["ev"] == "gsend" and event["group"] in cause:
                causes[event["msg"]] = cause[event["group"]]
        for msg, before in causes.items():
            yield from _cause_first(trace, msg, before)


def _cause_first(trace: GroupTrace, msg: str, cause: Event) -> Iterator[GroupViolation]:
    causes = {id(segment): event for segment, event in trace.deliveries[cause["msg"]] if segment is not None}
    for segment, event in trace.deliveries.get(msg, ()):
        if segment is None:
            continue
        before = causes.get(id(segment))
        # Only within one log is the time the order.
        if before is not None and before["t"] > event["t"]:
            text = f"{segment.span.life.proc} gets {msg} before {cause['msg']}, which its sender knew"
            yield GroupViolation("A5", text, (cause, event, before))


@register("A6")
def one_order(trace: GroupTrace, _: GroupLimits) -> Iterator[GroupViolation]:
    """There is one order of all messages of a group that everybody's order agrees with."""
    following: defaultdict[str, set[str]] = defaultdict(set)
    waits: defaultdict[str, int] = defaultdict(int)
    for life in trace.lives.values():
        last: dict[str, str] = {}
        for event in life.events:
            if event["ev"] == "gdeliver":
                msg, before = event["msg"], last.get(event["group"])
                if before is not None and msg not in following[before]:
                    following[before].add(msg)
                    waits[msg] += 1
                last[event["group"]] = msg
    free = deque(msg for msg in trace.deliveries if waits[msg] == 0)
    left = set(trace.deliveries)
    while free:
        msg = free.popleft()
        left.discard(msg)
        for after in following[msg]:
            waits[after] -= 1
            if waits[after] == 0:
                free.append(after)
    if left:
        example = sorted(left)[:2]
        events = tuple(event for msg in example for _, event in trace.deliveries[msg][:2])
        yield GroupViolation("A6", f"{len(left)} messages are in no order that all agree with", events)


@register("A7")
def safe(trace: GroupTrace, _: GroupLimits) -> Iterator[GroupViolation]:
    """A SAFE message that one has in the regular configuration all have who were members then, unless they fail."""
    segments = trace.by_ring()
    joins: dict[tuple[int, int], float | None] = {}
    for msg, places in trace.deliveries.items():
        sent = trace.sent.get(msg)
        if sent is None or sent["level"] != "safe":
            continue
        regular = next(((s, event) for s, event in places if s is not None and not event["trans"]), None)
        if regular is None or regular[0].ring is None:
            continue
        segment, delivery = regular
        assert segment.ring is not None
        view = trace.view_at[id(delivery)]["members"]
        got = {id(each) for each, _ in places}
        for other in segments[segment.span.group, segment.ring]:
            if id(other) in got or other.closing is None or list(other.span.member) not in view:
                continue
            key = (id(segment), id(other))
            if key not in joins:
                joins[key] = _joined_s(segment, other)
            joined_s = joins[key]
            if joined_s is not None and joined_s < delivery["t"]:
                text = f"{other.span.life.proc} never gets the SAFE message {msg}, nor fails in ring {other.ring}"
                yield GroupViolation("A7", text, (sent, delivery, other.closing))


def _joined_s(segment: Segment, other: Segment) -> float | None:
    """When `segment` saw the other one join; None if it did not."""
    if not other.is_first():
        return 0.0
    at = join_seen_at(segment, other)
    return None if at is None else float(segment.events[at]["t"])


@register("B9")
def same_ring(trace: GroupTrace, _: GroupLimits) -> Iterator[GroupViolation]:
    """A message is delivered in one ring everywhere: none of a ring before its sync is complete, none of an old one."""
    for msg, places in trace.deliveries.items():
        first: tuple[Segment, Event] | None = None
        for segment, event in places:
            if segment is None:
                continue
            if first is None:
                first = segment, event
            elif first[0].ring != segment.ring:
                text = f"{msg} is delivered in ring {first[0].ring} and in ring {segment.ring}"
                yield GroupViolation("B9", text, (first[1], event))
                break


@register("C14")
def liveness(trace: GroupTrace, _: GroupLimits) -> Iterator[GroupViolation]:
    """The last word of everybody reaches everybody who is in the group in the end."""
    stable = trace.of_harness("stable")
    if not stable:
        return
    for msg, sent in trace.sent.items():
        if sent.get("word") != "last" or sent["t"] < stable[0]["t"]:
            continue
        got = {event["proc"] for _, event in trace.deliveries.get(msg, ())}
        for life in trace.lives.values():
            alive = life.killed is None and life.over is None
            if alive and any(s.group == sent["group"] and s.ended is None for s in life.spans) and life.proc not in got:
                yield GroupViolation("C14", f"{life.proc} never gets the last word {msg}", (sent,))
