"""Before the node stops, those are asked who want to have a say in it (`corosync_cfg_trackstart` in C).

A tracker asks to be told of shutdowns, and that question stays with us until there is something to tell: so it is
known as long as it asks. It goes by a name that it has drawn, so that it is the same one after its gateway was killed.
Whoever goes away objects to nothing; whoever is there and says nothing in time objects.

A new control process knows of no tracker until they have asked it, so it asks them to wait who want the node to stop.
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
"""So long after its start this process is still learning who tracks."""
RETURN_NS = 5_000_000_000
"""How long a tracker may be away between two questions."""
REQUEST, REGARDLESS, IMMEDIATE = 0, 1, 2
"""Flags of a request: who objects is heeded; is asked and not heeded; is not even asked."""

NOTHING = {"number": 0, "event": "none"}

Place = tuple[bytes, bytes, int]
"""Who asked: gateway, connection, number."""
Answer = Callable[[Place, Code, Any], None]


@dataclass(slots=True)
class _Tracker:
    owner: tuple[bytes, bytes]
    """Gateway and connection that it asked on last."""
    place: Place | None = None
    """Its question, while it has one here."""
    after: int = 0
    due_ns: int = 0
    """When the question is answered empty; without one, when the tracker is held for gone."""
    news: dict[str, Any] = field(default_factory=lambda: dict(NOTHING))
    """What it was, or is to be, told last."""


@dataclass(slots=True)
class _Pending:
    place: Place
    flags: int
    until_ns: int
    asked: set[str]
    """Trackers that have not answered."""
    refused: bool = False


class Shutdowns:
    """All trackers, and the one request to shut down that they are being asked about."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._trackers: dict[str, _Tracker] = {}
        self._pending: _Pending | None = None
        self._last_number = 0
        self._complete_ns: int | None = None
        self.granted: list[Place] = []
        """Requests that nobody objects to: the caller shuts the node down and answers them."""

    def __len__(self) -> int:
        return len(self._trackers)

    def begin(self, now_ns: int) -> None:
        """Trackers can ask from now on."""
        if self._complete_ns is None:
            self._complete_ns = now_ns + GATHER_NS

    # What trackers say.

    def track(self, place: Place, name: str, after: int, now_ns: int) -> None:
        """Tell of what comes after `after`, as soon as there is something."""
        tracker = self._trackers.get(name)
        if tracker is None:
            if len(self._trackers) >= TRACKERS_MAX:
                self._answer(place, Code.TRY_AGAIN, f"{TRACKERS_MAX} programs track shutdowns already")
                return
            # Who comes while others are asked is not asked any more.
            tracker = self._trackers[name] = _Tracker(place[:2])
        elif tracker.place is not None:
            self._tell(tracker, NOTHING | {"number": after}, now_ns)
        tracker.owner, tracker.place, tracker.after = place[:2], place, after
        tracker.due_ns = now_ns + int(WATCH_S_MAX * 1e9)
        if tracker.news["number"] > after:
            self._tell(tracker, tracker.news, now_ns)

    def untrack(self, name: str) -> None:
        """It has no more say; that is no objection."""
        tracker = self._trackers.pop(name, None)
        if tracker is not None and tracker.place is not None:
            self._answer(tracker.place, Code.OK, NOTHING | {"number": tracker.after})
        self._settle(name, agrees=True)

    def vote(self, place: Place, name: str, *, agrees: bool) -> None:
        """A tracker's answer to the request that is pending."""
        pending = self._pending
        if pending is None or name not in pending.asked:
            self._answer(place, Code.ACCESS, "no shutdown waits for that answer")
            return
        self._answer(place, Code.OK, None)
        self._settle(name, agrees=agrees)

    # What those say who want the node to stop.

    def ask(self, place: Place, flags: int, own_name: str, timeout_ms: int, now_ns: int) -> None:
        """Shut down, unless somebody objects. `own_name`: the asker as a tracker, who is not asked."""
        if flags == IMMEDIATE:
            self.granted.append(place)
        elif self._complete_ns is None or now_ns < self._complete_ns:
            self._answer(place, Code.TRY_AGAIN, "control has just started: who has a say in shutdowns is not known yet")
        elif self._pending is not None:
            self._answer(place, Code.EXIST, "another shutdown waits for answers already")
        elif not (asked := self._trackers.keys() - {own_name}):
            self.granted.append(place)
        else:
            # Numbers grow over the lives of this process.
            self._pending = _Pending(place, flags, now_ns + timeout_ms * 1_000_000, set(asked))
            self._tell_all({"event": "asked", "flags": flags}, asked, now_ns)

    # What happens to connections, and time.

    def forget(self, gateway: bytes, connection: bytes) -> None:
        """A client's connection has ended: its trackers are gone, and what it asked for is off."""
        pending = self._pending
        if pending is not None and pending.place[:2] == (gateway, connection):
            self._pending = None
        for name in [n for n, each in self._trackers.items() if each.owner == (gateway, connection)]:
            self._trackers[name].place = None
            self.untrack(name)

    def gateway_gone(self, gateway: bytes, now_ns: int) -> None:
        """A gateway was killed, or hung up: its clients come back by the next one."""
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
        """When `expire` has something to do."""
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
        # Numbers grow over the lives of this process.
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
