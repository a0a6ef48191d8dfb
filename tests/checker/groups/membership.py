"""What holds for memberships and rings: A2, A10, A11, B1, B2, B4, C13."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.checker.groups.base import GroupLimits, GroupViolation, register
from tests.checker.groups.messages import who

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checker.base import Event
    from tests.checker.groups.base import Ring
    from tests.checker.groups.trace import GroupTrace, Segment, Span

JOINED = ("join", "nodeup")
LEFT = ("leave", "nodedown", "procdown")


@register("A2")
def rings(trace: GroupTrace, _: GroupLimits) -> Iterator[GroupViolation]:
    """Rings have growing numbers at each node, contain it, and have the same members for all."""
    members: dict[Ring, Event] = {}
    for life in trace.lives.values():
        last: dict[str, Event] = {}
        for event in life.events:
            if event["ev"] != "gring":
                continue
            ring = (event["ring"][0], event["ring"][1])
            if life.node not in event["members"]:
                yield GroupViolation("A2", f"{life.proc} is told of a ring without its node", (event,))
            first = members.setdefault(ring, event)
            if first["members"] != event["members"]:
                yield GroupViolation("A2", f"ring {ring} has different members for different nodes", (first, event))
            before = last.get(event["group"])
            if before is not None and before["ring"][1] >= event["ring"][1]:
                yield GroupViolation("A2", f"{life.proc}: the ring number does not grow", (before, event))
            last[event["group"]] = event


@register("B1")
def self_inclusion(trace: GroupTrace, _: GroupLimits) -> Iterator[GroupViolation]:
    """Whoever is given a membership is in it; the first one is its own join."""
    for span in trace.spans():
        own = list(span.member)
        for index, event in enumerate(event for event in span.events() if event["ev"] == "gconf"):
            if index == 0 and [*own, "join"] not in event["joined"]:
                yield GroupViolation("B1", f"{span.life.proc}: the first membership is not its own join", (event,))
            if own not in event["members"] and own not in [change[:2] for change in event["left"]]:
                yield GroupViolation("B1", f"{span.life.proc} is not in its own membership", (event,))


@register("B2")
def chain(trace: GroupTrace, _: GroupLimits) -> Iterator[GroupViolation]:
    """Memberships change by exactly what joined and left, for reasons that are true."""
    for span in trace.spans():
        before: Event | None = None
        for event in span.events():
            if event["ev"] == "gconf":
                yield from _one_change(span, before, event)
                before = event
        for segment in span.segments:
            yield from _ring_reasons(segment)
    yield from _reasons_of_others(trace)


def _one_change(span: Span, before: Event | None, event: Event) -> Iterator[GroupViolation]:
    joined, left = [c[:2] for c in event["joined"]], [c[:2] for c in event["left"]]
    proc = span.life.proc
    if any(c[2] not in JOINED for c in event["joined"]) or any(c[2] not in LEFT for c in event["left"]):
        yield GroupViolation("B2", f"{proc}: a reason that is none", (event,))
    if event["members"] != sorted(event["members"]):
        yield GroupViolation("B2", f"{proc}: members are not sorted", (event,))
    if before is None:
        return
    old = before["members"]
    expected = sorted([member for member in old if member not in left] + joined)
    if expected != event["members"] or any(m not in old for m in left) or any(m in old for m in joined):
        yield GroupViolation("B2", f"{proc}: members are not the old ones, less left, plus joined", (before, event))


def _ring_reasons(segment: Segment) -> Iterator[GroupViolation]:
    """nodedown and nodeup come of a new ring, at its begin."""
    trailing = segment.trailing()
    for index, event in enumerate(segment.events):
        if event["ev"] != "gconf" or (index == 0 and segment.is_first()):
            continue
        reasons = {change[2] for change in event["joined"] + event["left"]}
        of_ring = reasons & {"nodedown", "nodeup"}
        closed = segment.closing is not None
        if of_ring and not (index >= trailing and (closed or segment.span.ended is not None or _is_cut(segment))):
            text = f"{segment.span.life.proc}: {of_ring.pop()} without a new ring"
            yield GroupViolation("B2", text, (event,))


def _is_cut(segment: Segment) -> bool:
    """Whether the log of its life ends here."""
    return segment.span.life.killed is not None


def _reasons_of_others(trace: GroupTrace) -> Iterator[GroupViolation]:
    """Who is said to have left asked for it, or was told `Disconnected`, after which the client leaves and joins again;
    who is said to be dead did not go on in that membership."""
    asked = {
        (life.node, life.pid, event["group"])
        for life in trace.lives.values()
        for event in life.events
        if event["ev"] in ("gleave", "gdown")
    }
    lives: dict[tuple[int, int], list[Span]] = {}
    for span in trace.spans():
        lives.setdefault(span.member, []).append(span)
    for span in trace.spans():
        for event in span.events():
            if event["ev"] != "gconf":
                continue
            for node, pid, reason in event["left"]:
                if reason == "leave" and (node, pid, span.group) not in asked:
                    yield GroupViolation("B2", f"{who((node, pid))} left, and did not ask for it", (event,))
                if reason == "procdown" and not _may_be_dead(trace, lives.get((node, pid), []), span.group, event):
                    yield GroupViolation("B2", f"{who((node, pid))} is said to be dead and goes on", (event,))


def _may_be_dead(trace: GroupTrace, spans: list[Span], group: str, event: Event) -> bool:
    """Whether no membership of that process spans the event by far: it ended, or is not known to have gone on."""
    margin_s = 1.0
    return not any(
        span.group == group
        and next(span.events())["t"] < event["t"] - margin_s
        and span.ended is None
        and span.life.killed is None
        for span in spans
    )


@register("B4")
def no_ghosts(trace: GroupTrace, _: GroupLimits) -> Iterator[GroupViolation]:
    """When a ring's sync is complete, every member is on one of its nodes."""
    for span in trace.spans():
        view: Event | None = None
        for segment in span.segments:
            for event in segment.events:
                if event["ev"] == "gconf":
                    view = event
            if view is not None and segment.closing is not None:
                nodes = segment.closing["members"]
                ghosts = [member for member in view["members"] if member[0] not in nodes]
                if ghosts:
                    text = f"{span.life.proc} has members of nodes that are not in the ring: {ghosts}"
                    yield GroupViolation("B4", text, (view, segment.closing))


@register("B10")
def nothing_while_suspended(trace: GroupTrace, _: GroupLimits) -> Iterator[GroupViolation]:
    """Who was told that it is cut off is given nothing more of the group before it is told what has become of that."""
    for life in trace.lives.values():
        since: dict[str, Event] = {}
        for event in life.events:
            kind, group = event["ev"], event.get("group", "")
            if kind == "gsuspend":
                since[group] = event
            elif kind in ("gresume", "gdown", "gout", "gjoin"):
                since.pop(group, None)
            elif kind in ("gconf", "gdeliver", "gring") and group in since:
                text = f"{life.proc} is suspended in {group}, and is given more"
                yield GroupViolation("B10", text, (since.pop(group), event))


@register("A10")
def a_pause_is_a_failure(trace: GroupTrace, _: GroupLimits) -> Iterator[GroupViolation]:
    """Who was frozen while the others formed a ring without it hears of that before anything that was sent since."""
    thaws = trace.of_harness("thaw")
    for freeze in trace.of_harness("freeze"):
        node = freeze["node"]
        thaw = next((event for event in thaws if event["node"] == node and event["t"] >= freeze["t"]), None)
        if thaw is None:
            continue
        without = {
            (event["ring"][0], event["ring"][1])
            for life in trace.lives.values()
            for event in life.events
            if event["ev"] == "gring" and freeze["t"] < event["t"] < thaw["t"] and node not in event["members"]
        }
        if not without:
            continue
        for span in trace.spans():
            if span.life.node == node and next(span.events())["t"] < freeze["t"]:
                yield from _hears_first(trace, span, freeze, thaw)


def _hears_first(trace: GroupTrace, span: Span, freeze: Event, thaw: Event) -> Iterator[GroupViolation]:
    told = False
    for event in span.life.events:
        if event["t"] < freeze["t"] or event.get("group") != span.group:
            continue
        if event["ev"] in ("gring", "gdown", "gout", "gjoin"):
            told = True  # (who was in the group no more, and joins, learns of what is)
        elif event["ev"] == "gdeliver" and event["t"] > thaw["t"] and not told:
            sent = trace.sent.get(event["msg"])
            if sent is not None and sent["t"] > thaw["t"]:
                text = f"{span.life.proc} was out, and is given a new message before it is told"
                yield GroupViolation("A10", text, (freeze, thaw, sent, event))
                return


@register("A11")
def symmetric_departure(trace: GroupTrace, _: GroupLimits) -> Iterator[GroupViolation]:
    """Of two who go from one ring to different ones, each sees the other leave before its next ring."""
    for segments in trace.by_ring().values():
        for mine in segments:
            if mine.closing is None:
                continue
            following = mine.closing["ring"]
            view = _last_view(mine)
            for theirs in segments:
                if theirs.span.life.node == mine.span.life.node or theirs.closing is None or view is None:
                    continue
                # A ring that has both of them and that only one was told of broke before the other's sync was complete.
                apart = theirs.closing["ring"] != following and not (
                    theirs.span.life.node in mine.closing["members"]
                    and mine.span.life.node in theirs.closing["members"]
                )
                if apart and list(theirs.span.member) in view["members"] and not _left_at_end(mine, theirs.span):
                    text = f"{mine.span.life.proc} and {theirs.span.life.proc} part, and the first does not see it"
                    yield GroupViolation("A11", text, (view, mine.closing, theirs.closing))


def _last_view(segment: Segment) -> Event | None:
    """The membership before those that may follow from the next ring."""
    confs = [event for event in segment.events[: segment.trailing()] if event["ev"] == "gconf"]
    if confs:
        return confs[-1]
    previous = segment.span.segments[: segment.span.segments.index(segment)]
    return next((e for s in reversed(previous) for e in reversed(s.events) if e["ev"] == "gconf"), None)


def _left_at_end(segment: Segment, other: Span) -> bool:
    member = list(other.member)
    return any(
        member in [change[:2] for change in event["left"]]
        for event in segment.events[segment.trailing() :]
        if event["ev"] == "gconf"
    )


@register("C13")
def precise_in_the_end(trace: GroupTrace, _: GroupLimits) -> Iterator[GroupViolation]:
    """When all is quiet, everybody has the same membership, namely who is really there."""
    if not trace.of_harness("stable"):
        return
    last: dict[str, list[tuple[Span, Event]]] = {}
    for life in trace.lives.values():
        for span in life.spans:
            alive = life.killed is None and life.over is None and span.ended is None
            if alive:
                confs = [event for event in span.events() if event["ev"] == "gconf"]
                last.setdefault(span.group, []).append((span, confs[-1]))
    for group, views in last.items():
        real = sorted(list(span.member) for span, _ in views)
        for span, view in views:
            if view["members"] != real:
                text = f"{span.life.proc} ends with a membership of {group} that is not {real}"
                yield GroupViolation("C13", text, (view,))
