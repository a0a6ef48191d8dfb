"""One look for all who want to see, and only while somebody does.

Looks block, so a thread takes them, one at a time. Who asks while the last one is fresh gets that. Watchers are told
that there is something new and take the newest: nothing is queued for one that does not read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from rondo.metrics.looker import Looker
from services.web.recent import Recent
from services.web.wire import Happened

T = TypeVar("T")

FRESH_S = 0.25
LOOK_S = 0.5
"""How often it is looked for events while somebody watches."""
STATUS_S = 2.0
"""How often all services are asked then. If something has happened they are asked at once."""


class Hub:
    """Belongs to the event loop."""

    def __init__(self, looker: Looker) -> None:
        self._looker = looker
        self._thread = ThreadPoolExecutor(1, "look")
        self._last: dict[str, tuple[float, Any]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._changed = asyncio.Condition()
        self._watchers = 0
        self._waited_s = -1e9
        self._task: asyncio.Task[None] | None = None
        self.number = 0
        """Of the last look; one more with each."""
        self.status: dict[str, Any] = {}
        self.recent = Recent()
        self._events_seen_s = -1e9
        self.on_events: Callable[[list[Happened]], None] = lambda _events: None
        """Called with the events of this node that are new."""
        self.on_look: Callable[[], None] = lambda: None
        """Called when somebody begins to wait for a look."""

    async def get(self, name: str, look: Callable[[Looker], T]) -> T:
        """What `look` sees, now or within the last `FRESH_S`."""
        async with self._locks.setdefault(name, asyncio.Lock()):
            at_s, value = self._last.get(name, (-1e9, None))
            if time.monotonic() - at_s > FRESH_S:
                loop = asyncio.get_running_loop()
                value = await loop.run_in_executor(self._thread, look, self._looker)
                self._last[name] = time.monotonic(), value
            found: T = value
            return found

    async def refresh_events(self) -> None:
        """Look for events that are new, if that was not done just now."""
        async with self._locks.setdefault("events", asyncio.Lock()):
            if time.monotonic() - self._events_seen_s > FRESH_S:
                loop = asyncio.get_running_loop()
                new = await loop.run_in_executor(self._thread, self._looker.new_events)
                self._events_seen_s = time.monotonic()
                self.on_events(self.recent.add_own(new))

    async def latest_status(self) -> dict[str, Any]:
        """What watchers were shown last, if there are some; else what there is to see now."""
        if self._task is not None and not self._task.done() and self.status:
            return self.status
        return await self.get("status", lambda looker: looker.status())

    @property
    def is_watched(self) -> bool:
        """Whether somebody watches. Who has just been served is not waiting for a moment."""
        return self._watchers > 0 or time.monotonic() - self._waited_s < 2 * LOOK_S

    async def watch(self, seen: int) -> int:
        """Wait for a look after the one with that number; its number."""
        self._watchers += 1
        self.on_look()
        try:
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._look())
            async with self._changed:
                await self._changed.wait_for(lambda: self.number > seen)
            return self.number
        finally:
            self._watchers -= 1
            self._waited_s = time.monotonic()

    async def _look(self) -> None:
        """Look again and again, until nobody has watched for a turn."""
        asked_s, happened = -1e9, -1
        while True:
            await self.refresh_events()
            if happened != self.recent.last_id or time.monotonic() - asked_s > STATUS_S - LOOK_S / 2:
                asked_s, happened = time.monotonic(), self.recent.last_id
                self.status = await self.get("status", lambda looker: looker.status())
                async with self._changed:
                    self.number += 1
                    self._changed.notify_all()
            await asyncio.sleep(LOOK_S)
            if not self._watchers:
                return

    async def close(self) -> None:
        """End looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown(wait=True)
        self._looker.close()
