"""The pages of the other nodes: what they have told, who looks, and when something is to be said. No I/O.

A page that is looked at says LOOK every five seconds, unless another one has, and at once when something has happened
here or the members have changed. To each LOOK one page of every node answers FIGURES at once, once a second at most. So
all speak at one time: the token of an idle ring rests, and each time that somebody speaks it goes round for a while.
Where nobody looks nothing is said at all. The log of a node is said when somebody asks for it, once a second at most,
and kept by nobody but who has asked.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rondo.events import Member
from services.web.wire import (
    EVENTS_MAX,
    INSTANCE_BYTES,
    BadMessageError,
    Figures,
    Happened,
    Log,
    LogLine,
    LogWanted,
    Look,
    Told,
    pack_figures,
    pack_log,
    pack_look,
    unpack_message,
)

LOOK_S = 5.0
"""So often it is said that somebody looks."""
FIGURES_S = 1.0
LOG_S = 1.0
OWN_EVENTS_MAX = 200
"""The last events of this node that are kept for others."""


@dataclass(slots=True)
class Peer:
    """What is known of another node."""

    sender: Member
    instance: bytes
    figures: Figures
    seen_s: float
    last_event: int
    """The number of the last of its events that was taken."""


class Peers:
    """Belongs to one page. Times are of CLOCK_MONOTONIC, in seconds."""

    def __init__(self, instance: bytes | None = None) -> None:
        """`instance`: what tells its events from those of the page before it; by chance."""
        self._instance = os.urandom(INSTANCE_BYTES) if instance is None else instance
        self._own = Member(0, 0)
        self._members: tuple[Member, ...] = ()
        self.known: dict[int, Peer] = {}
        """By node."""
        self.refused: Counter[str] = Counter()
        """Messages that were not taken, by reason."""
        self._are_figures_wanted = False
        self._next_figures_s = 0.0
        self._next_look_s = 0.0
        self._was_watched = False
        self._events: deque[Happened] = deque(maxlen=OWN_EVENTS_MAX)
        self._events_told = 0
        self._is_log_wanted = False
        self._next_log_s = 0.0
        self.awaited_logs: dict[int, tuple[LogLine, ...] | None] = {}
        """By node: the logs that somebody here waits for; None: it has not come."""

    def on_members(self, members: Iterable[Member], own: Member) -> None:
        """Who is in the group now. A node without a page is not known any more."""
        self._members, self._own = tuple(sorted(members)), own
        self.look_at_once()
        here = {member.node for member in self._members}
        self.known = {node: peer for node, peer in self.known.items() if node in here}

    @property
    def own_node(self) -> int | None:
        """This node; None if the page is in no group."""
        return self._own.node or None

    @property
    def is_reporter(self) -> bool:
        """Whether this page speaks for its node."""
        return self._speaks(self._own)

    def _speaks(self, page: Member) -> bool:
        """Of several pages on a node the first one speaks for it."""
        return next((each for each in self._members if each.node == page.node), None) == page

    def on_message(self, sender: Member, data: bytes, now_s: float) -> list[Happened]:
        """Take what somebody has said; events that are new."""
        try:
            message = unpack_message(data)
        except BadMessageError as error:
            self.refused[str(error)] += 1
            return []
        if isinstance(message, Look):
            self._are_figures_wanted = True
            if sender != self._own:
                self._next_look_s = now_s + LOOK_S
            if message.is_new:
                self._events_told = 0
            return []
        if isinstance(message, LogWanted):
            self._is_log_wanted |= message.node == self._own.node and self.is_reporter
            return []
        if sender == self._own:
            return []
        if not self._speaks(sender):
            self.refused["not the first of its node"] += 1
            return []
        if isinstance(message, Log):
            if sender.node in self.awaited_logs:
                self.awaited_logs[sender.node] = message.lines
            return []
        return self._on_figures(sender, message, now_s)

    def _on_figures(self, sender: Member, told: Told, now_s: float) -> list[Happened]:
        peer = self.known.get(sender.node)
        last = peer.last_event if peer is not None and peer.instance == told.instance else 0
        new = [event for event in told.events if event.number > last]
        last = max([last, *(event.number for event in new)])
        self.known[sender.node] = Peer(sender, told.instance, told.figures, now_s, last)
        return new

    def others(self) -> set[int]:
        """The nodes besides this one that have a page."""
        return {member.node for member in self._members} - {self._own.node}

    def happened(self, events: Sequence[Happened]) -> None:
        """These events of this node are new."""
        self._events.extend(events)
        if events:
            self.look_at_once()

    def look_at_once(self) -> None:
        """The next such word is due now."""
        self._next_look_s = 0.0

    def look(self, now_s: float, is_watched: bool) -> bytes | None:
        """The word that somebody looks, if it is time for it."""
        is_new = is_watched and not self._was_watched
        self._was_watched = is_watched
        if not is_watched or not (is_new or now_s >= self._next_look_s):
            return None
        self._next_look_s = now_s + LOOK_S
        return pack_look(is_new)

    @property
    def are_figures_wanted(self) -> bool:
        """Whether somebody looks, on whichever node, or has not been told all events, and this page is to answer."""
        return self._are_figures_wanted and self.is_reporter

    def are_figures_due(self, now_s: float) -> bool:
        """Whether it is time to say them."""
        return self.are_figures_wanted and now_s >= self._next_figures_s

    def figures(self, figures: Figures, now_s: float) -> bytes:
        """What this node says. Of more events than one message has the next one follows unasked."""
        self._next_figures_s = now_s + FIGURES_S
        new = [event for event in self._events if event.number > self._events_told][:EVENTS_MAX]
        packed = pack_figures(self._instance, figures, new)
        told = unpack_message(packed)
        if isinstance(told, Told) and told.events:
            self._events_told = told.events[-1].number
        self._are_figures_wanted = bool(self._events) and self._events[-1].number > self._events_told
        return packed

    @property
    def is_log_wanted(self) -> bool:
        """Whether somebody waits for the log of this node, and this page is to say it."""
        return self._is_log_wanted and self.is_reporter

    def is_log_due(self, now_s: float) -> bool:
        """Whether it is time to say it."""
        return self.is_log_wanted and now_s >= self._next_log_s

    def log(self, lines: tuple[LogLine, ...], now_s: float) -> bytes:
        """The log of this node, as all who have asked are told it."""
        self._is_log_wanted, self._next_log_s = False, now_s + LOG_S
        return pack_log(lines)

    def as_json(self, now_s: float) -> list[dict[str, Any]]:
        """What is known of the others, by node."""
        return [
            {"node": node, "age_seconds": round(now_s - peer.seen_s, 1), **peer.figures.as_json()}
            for node, peer in sorted(self.known.items())
        ]
