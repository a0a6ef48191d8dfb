"""Asks the programs that track shutdowns (`corosync_cfg_trackstart` in C) before the node stops.

A tracker's request to be told of shutdowns stays open here until there is something to tell. So a tracker is known as
long as its request is open. It has drawn a random name, by which it is recognised after its gateway was killed. A
tracker that leaves does not object. A tracker that stays but does not answer in time objects.

A new control process knows no tracker until they have sent their requests. Until then it asks whoever wants the node to
stop to try again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import WATCH_S_MAX

TRACKERS_MAX = 1024
NAME_CHARACTERS_MAX = 64
GATHER_NS = 2_000_000_000
"""How long after its start this process waits for the trackers' requests."""
RETURN_NS = 5_000_000_000
"""How long a tracker may be without an open request."""
REQUEST, REGARDLESS, IMMEDIATE = 0, 1, 2
"""Flags of a shutdown request: objections count; trackers are asked, but objections do not count; nobody is asked."""

NOTHING = {"number": 0, "event": "none"}

Place = tuple[bytes, bytes, int]
"""Where to answer a request: gateway, connection, number."""
Answer = Callable[[Place, Code, Any], None]


@dataclass(slots=True)
class _Tracker:
    owner: tuple[bytes, bytes]
    """Gateway and connection of its last request."""
    place: Place | None = None
    """Its open request; None if there is none."""
    after: int = 0
    due_ns: int = 0
    """When the open request gets an empty answer. Without one: when the tracker counts as gone."""
    news: dict[str, Any] = field(default_factory=lambda: dict(NOTHING))
    """The last news for it, told or to be told."""


@dataclass(slots=True)
class _Pending:
    place: Place
    flags: int
    until_ns: int
    asked: set[str]
    """Trackers that have not answered."""
    refused: bool = False


class Shutdowns:
    """All trackers, and the pending shutdown request."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._trackers: dict[str, _Tracker] = {}
        self._pending: _Pending | None = None
        self._last_number = 0
        self._complete_ns: int | None = None
        self.granted: list[Place] = []
        """Shutdown requests without objections. The caller shuts the node down and answers them."""

    def __len__(self) -> int:
        return len(self._trackers)

    def begin(self, now_ns: int) -> None:
        """Trackers' requests can arrive from now on."""
        if self._complete_ns is None:
            self._complete_ns = now_ns + GATHER_NS

    # Requests of trackers.

    def track(self, place: Place, name: str, after: int, now_ns: int) -> None:
        """A tracker asks for news after number `after`. It is answered as soon as there is some."""
        tracker = self._trackers.get(name)
        if tracker is None:
            if len(self._trackers) >= TRACKERS_MAX:
                self._answer(place, Code.TRY_AGAIN, f"{TRACKERS_MAX} programs track shutdowns already")
                return
            # A tracker that comes while a shutdown is pending is not asked.
            tracker = self._trackers[name] = _Tracker(place[:2])
        elif tracker.place is not None:
            self._tell(tracker, NOTHING | {"number": after}, now_ns)
        tracker.owner, tracker.place, tracker.after = place[:2], place, after
        tracker.due_ns = now_ns + int(WATCH_S_MAX * 1e9)
        if tracker.news["number"] > after:
            self._tell(tracker, tracker.news, now_ns)

    def untrack(self, name: str) -> None:
        """A tracker leaves. That is no objection."""
        tracker = self._trackers.pop(name, None)
        if tracker is not None and tracker.place is not None:
            self._answer(tracker.place, Code.OK, NOTHING | {"number": tracker.after})
        self._settle(name, agrees=True)

    def vote(self, place: Place, name: str, *, agrees: bool) -> None:
        """A tracker's answer to the request that is pending."""
        pending = self._pending
        if pending is None or name not in pending.asked:
            self._answer(place, Code.ACCESS, "no shutdown waits for this answer")
            return
        self._answer(place, Code.OK, None)
        self._settle(name, agrees=agrees)

    # Requests to stop the node.

    def ask(self, place: Place, flags: int, own_name: str, timeout_ms: int, now_ns: int) -> None:
        """Request a shutdown. `own_name`: the requester's name as a tracker; it is not asked itself."""
        if flags == IMMEDIATE:
            self.granted.append(place)
        elif self._complete_ns is None or now_ns < self._complete_ns:
            self._answer(
                place,
                Code.TRY_AGAIN,
                "control has just started and does not know yet which programs track shutdowns; try again",
            )
        elif self._pending is not None:
            self._answer(place, Code.EXIST, "another shutdown request waits for answers already")
        elif not (asked := self._trackers.keys() - {own_name}):
            self.granted.append(place)
        else:
            self._pending = _Pending(place, flags, now_ns + timeout_ms * 1_000_000, set(asked))
            self._tell_all({"event": "asked", "flags": flags}, asked, now_ns)

    # Connections, and time.

    def forget(self, gateway: bytes, connection: bytes) -> None:
        """A client's connection has ended: its trackers are gone, and its shutdown request is cancelled."""
        pending = self._pending
        if pending is not None and pending.place[:2] == (gateway, connection):
            self._pending = None
        for name in [n for n, each in self._trackers.items() if each.owner == (gateway, connection)]:
            self._trackers[name].place = None
            self.untrack(name)

    def gateway_gone(self, gateway: bytes, now_ns: int) -> None:
        """A gateway was killed or disconnected. Its clients come back by the next one."""
        if self._pending is not None and self._pending.place[0] == gateway:
            self._pending = None
        for tracker in self._trackers.values():
            if tracker.owner[0] == gateway:
                tracker.place, tracker.due_ns = None, now_ns + RETURN_NS

    def expire(self, now_ns: int) -> None:
        """Do what is due."""
        for name, tracker in list(self._trackers.items()):
            if tracker.due_ns > now_ns:
                continue
            if tracker.place is None:
                self.untrack(name)
            else:
                self._tell(tracker, NOTHING | {"number": tracker.after}, now_ns)
        pending = self._pending
        if pending is not None and pending.until_ns <= now_ns:
            for name in set(pending.asked):
                self._settle(name, agrees=False)
            self._tell_all({"event": "timeout"}, self._trackers.keys(), now_ns)

    def next_deadline_ns(self) -> int | None:
        """When to call `expire`."""
        dues = [tracker.due_ns for tracker in self._trackers.values()]
        if self._pending is not None:
            dues.append(self._pending.until_ns)
        return min(dues, default=None)

    def _settle(self, name: str, *, agrees: bool) -> None:
        """A tracker has answered, or is gone."""
        pending = self._pending
        if pending is None or name not in pending.asked:
            return
        pending.asked.discard(name)
        pending.refused = pending.refused or not agrees
        if pending.asked:
            return
        self._pending = None
        if pending.refused and pending.flags != REGARDLESS:
            self._answer(pending.place, Code.BUSY, "a program that tracks shutdowns objects")
        else:
            self.granted.append(pending.place)

    def _tell_all(self, news: dict[str, Any], names: Iterable[str], now_ns: int) -> None:
        # Numbers grow over restarts of this process.
        self._last_number = max(now_ns, self._last_number + 1)
        for name in list(names):
            tracker = self._trackers[name]
            tracker.news = {"number": self._last_number, **news}
            if tracker.place is not None:
                self._tell(tracker, tracker.news, now_ns)

    def _tell(self, tracker: _Tracker, news: dict[str, Any], now_ns: int) -> None:
        place, tracker.place, tracker.due_ns = tracker.place, None, now_ns + RETURN_NS
        if place is not None:
            self._answer(place, Code.OK, news)
