"""Clients that wait for events. Each asks for the events after a number, and is answered once.

An event is told only when it is safe (`released`): then a restarted process knows it too, by the same number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import WATCH_S_MAX
from services.control.history import History

WATCHES_MAX = 4096
EVENTS_PER_ANSWER = 128
QUORUM, KEYS = "quorum", "keys"

Place = tuple[bytes, bytes, int]
"""Where to answer: gateway, connection, number."""
Answer = Callable[[Place, Code, Any], None]


@dataclass(slots=True)
class _Watch:
    of: str
    prefix: str
    after: int
    until_ns: int


class Watches:
    """The clients that wait."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._waiting: dict[Place, _Watch] = {}
        self.released = {QUORUM: 0, KEYS: 0}
        """Events up to these numbers may be told."""

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, place: Place, arguments: dict[str, Any], histories: dict[str, History], now_ns: int) -> None:
        """A client asks for the events after its last one."""
        of, prefix, after = arguments.get("of"), arguments.get("prefix", ""), arguments.get("after")
        is_number = after is None or type(after) is int
        # What cannot be looked up, such as a list, may come, too.
        if type(of) is not str or of not in histories or type(prefix) is not str or not is_number:
            self._answer(
                place, Code.INVALID_PARAM, "a watch takes of (quorum or keys), prefix (a text) and after (a number)"
            )
        elif after is None:
            self._tell(place, self.released[of], [], lost=False)
        elif not histories[of].floor <= after <= self.released[of]:
            self._tell(place, self.released[of], [], lost=True)
        elif len(self._waiting) >= WATCHES_MAX:
            self._answer(place, Code.TRY_AGAIN, f"{WATCHES_MAX} clients wait for events already")
        else:
            watch = _Watch(of, prefix, after, now_ns + int(WATCH_S_MAX * 1e9))
            if not self._serve(place, watch, histories[of]):
                self._waiting[place] = watch

    def release(self, numbers: dict[str, int], histories: dict[str, History]) -> None:
        """Events up to these numbers are safe now."""
        grown = {of for of, number in numbers.items() if number != self.released[of]}
        self.released = dict(numbers)
        for place, watch in list(self._waiting.items()):
            if watch.of in grown and self._serve(place, watch, histories[watch.of]):
                del self._waiting[place]

    def expire(self, now_ns: int) -> None:
        """Answer clients that have waited long enough; they ask again."""
        for place, watch in list(self._waiting.items()):
            if watch.until_ns <= now_ns:
                del self._waiting[place]
                self._tell(place, watch.after, [], lost=False)

    def next_deadline_ns(self) -> int | None:
        """When to call `expire`."""
        return min((watch.until_ns for watch in self._waiting.values()), default=None)

    def forget(self, gateway: bytes, connection: bytes | None = None) -> None:
        """A gateway is gone, and all clients that waited there; or only one of its clients."""
        for place in [place for place in self._waiting if place[0] == gateway]:
            if connection is None or place[1] == connection:
                del self._waiting[place]

    def _serve(self, place: Place, watch: _Watch, history: History) -> bool:
        """Answer the client if there is something to tell. Events that do not concern it are skipped."""
        if watch.after < history.floor:
            self._tell(place, self.released[watch.of], [], lost=True)
            return True
        events: list[dict[str, Any]] = []
        for number, event in history.after(watch.after):
            if number > self.released[watch.of] or len(events) >= EVENTS_PER_ANSWER:
                break
            watch.after = number
            if watch.of != KEYS or event["key"].startswith(watch.prefix):
                events.append({"number": number, **event})
        if events:
            self._tell(place, watch.after, events, lost=False)
        return bool(events)

    def _tell(self, place: Place, number: int, events: list[dict[str, Any]], *, lost: bool) -> None:
        self._answer(place, Code.OK, {"number": number, "events": events, "lost": lost})
