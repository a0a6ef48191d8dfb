"""The logs of group members, cut into lives, spans and segments, in one pass."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.checker.base import Event
    from tests.checker.groups.base import Member, Ring


class Segment:
    """What one life sees of one group in one ring: from that ring's gring (or its own join) to the next gring."""

    __slots__ = ("closing", "conf_at_end", "events", "nodes", "ring", "span")

    def __init__(self, span: Span, ring: Ring | None, nodes: tuple[int, ...] | None) -> None:
        self.span = span
        self.ring = ring
        """None until it is known: a life that joins is told of the next ring only."""
        self.nodes = nodes
        self.events: list[Event] = []
        """gconf and gdeliver."""
        self.closing: Event | None = None
        """The gring that ends it; None: it ends with the span."""

    def is_first(self) -> bool:
        """Whether it begins with the own join."""
        return self.span.segments[0] is self

    def trailing(self) -> int:
        """Index from which on there are only memberships: what followed from the next ring may be among them."""
        index = len(self.events)
        while index and self.events[index - 1]["ev"] == "gconf":
            index -= 1
        return index

    def following(self) -> Segment | None:
        """The next one of the span."""
        index = self.span.segments.index(self) + 1
        return self.span.segments[index] if index < len(self.span.segments) else None


class Span:
    """One membership of one life in one group."""

    __slots__ = ("ended", "group", "life", "member", "segments")

    def __init__(self, life: Life, group: str) -> None:
        self.life = life
        self.group = group
        self.member: Member = (life.node, life.pid)
        self.segments = [Segment(self, None, None)]
        self.ended: Event | None = None
        """gdown, gover, gout, or the gconf with its own leave; None: it was a member when its log ended."""

    def events(self) -> Iterator[Event]:
        """gconf and gdeliver, in order."""
        for segment in self.segments:
            yield from segment.events


class Life:
    """One connection of one process."""

    __slots__ = ("events", "killed", "node", "over", "pid", "proc", "spans")

    def __init__(self, proc: str, node: int, pid: int) -> None:
        self.proc = proc
        self.node = node
        self.pid = pid
        self.events: list[Event] = []
        self.spans: list[Span] = []
        self.killed: Event | None = None
        self.over: Event | None = None
        """The gover."""


class GroupTrace:
    """All that the properties look at."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.lives: dict[str, Life] = {}
        self.harness: list[Event] = []
        self.sent: dict[str, Event] = {}
        self.resent: list[Event] = []
        self.deliveries: defaultdict[str, list[tuple[Segment | None, Event]]] = defaultdict(list)
        """By message: where it was delivered."""
        self.view_at: dict[int, Event] = {}
        """By id of a gdeliver: the gconf in force."""
        self._views: dict[int, Event] = {}
        self._open: dict[tuple[str, str], Span] = {}
        end = False
        for event in events:
            end = end or event["ev"] == "end"
            if "proc" not in event:
                self.harness.append(event)
            elif not end:
                self._read(event)
        for event in self.harness:
            if event["ev"] == "fail":
                for life in self.lives.values():
                    if life.proc.partition("#")[0] == event["name"]:
                        life.killed = event
        self._name_rings()

    def _read(self, event: Event) -> None:
        proc = event["proc"]
        life = self.lives.get(proc)
        if life is None:
            life = self.lives[proc] = Life(proc, event["node"], event["pid"])
        life.events.append(event)
        kind = event["ev"]
        if kind == "gsend":
            if event["msg"] in self.sent:
                self.resent.append(event)
            self.sent.setdefault(event["msg"], event)
        elif kind == "gover":
            life.over = event
            for key in [key for key in self._open if key[0] == proc]:
                self._open.pop(key).ended = event
        elif kind in ("gconf", "gdeliver", "gring", "gdown", "gout"):
            self._read_seen(life, event)

    def _read_seen(self, life: Life, event: Event) -> None:
        kind, key = event["ev"], (life.proc, event["group"])
        span = self._open.get(key)
        if span is None:
            if kind == "gdeliver":
                self.deliveries[event["msg"]].append((None, event))
            if kind != "gconf":
                return
            span = self._open[key] = Span(life, event["group"])
            life.spans.append(span)
        if kind in ("gdown", "gout"):
            span.ended = event
            del self._open[key]
        elif kind == "gring":
            span.segments[-1].closing = event
            ring = (event["ring"][0], event["ring"][1])
            span.segments.append(Segment(span, ring, tuple(event["members"])))
        else:
            span.segments[-1].events.append(event)
            if kind == "gdeliver":
                self.deliveries[event["msg"]].append((span.segments[-1], event))
                self.view_at[id(event)] = self._views[id(span)]
                return
            self._views[id(span)] = event
            if [life.node, life.pid] in [change[:2] for change in event["left"]]:
                span.ended = event
                del self._open[key]

    def _name_rings(self) -> None:
        """Find out in which ring the first segment of a span is: from messages that others saw in a known ring."""
        ring_of: dict[str, Ring] = {}
        nameless = []
        for segment in self.segments():
            if segment.ring is None:
                nameless.append(segment)
            else:
                ring_of.update((event["msg"], segment.ring) for event in segment.events if event["ev"] == "gdeliver")
        progress = True
        made_up = 0
        while nameless:
            if not progress:
                # Nobody was told of that ring: it gets a name of ours.
                made_up -= 1
                self._name(nameless.pop(0), (made_up, made_up), ring_of)
            progress = False
            for segment in list(nameless):
                known = [ring_of[event["msg"]] for event in segment.events if event.get("msg") in ring_of]
                if known:
                    self._name(segment, known[0], ring_of)
                    nameless.remove(segment)
                    progress = True

    @staticmethod
    def _name(segment: Segment, ring: Ring, ring_of: dict[str, Ring]) -> None:
        segment.ring = ring
        for event in segment.events:
            if event["ev"] == "gdeliver":
                ring_of.setdefault(event["msg"], ring)

    def spans(self) -> Iterator[Span]:
        """All spans, one life after the other."""
        for life in self.lives.values():
            yield from life.spans

    def segments(self) -> Iterator[Segment]:
        """All segments."""
        for span in self.spans():
            yield from span.segments

    def by_ring(self) -> dict[tuple[str, Ring], list[Segment]]:
        """The segments of each group in each ring."""
        found: defaultdict[tuple[str, Ring], list[Segment]] = defaultdict(list)
        for segment in self.segments():
            if segment.ring is not None:
                found[segment.span.group, segment.ring].append(segment)
        return found

    def of_harness(self, kind: str) -> list[Event]:
        """What the harness noted of one kind."""
        return [event for event in self.harness if event["ev"] == kind]
