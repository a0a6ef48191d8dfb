"""Who is told about the state of a connection: the application's listeners, and the log `rondo.client`.

All are told in the order of events. The log is silent unless the application adds a handler to it. It names the
endpoint and the reason, and never a key, a secret or the content of a message.
"""

import _thread
import asyncio
import inspect
import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue

from rondo._client.state import CLOSED
from rondo.errors import InvalidParameter
from rondo.events import ConnectionEvent, ConnectionState, SlowConsumer

Listener = Callable[[ConnectionEvent], object]
Noted = tuple[ConnectionEvent, tuple[Listener, ...]]
"""An event, and the listeners that there were when it happened."""

WAITING_MAX = 256
"""How many events wait for a slow listener. Beyond that the oldest are dropped; the last one tells the present
state."""

log = logging.getLogger("rondo.client")
log.addHandler(logging.NullHandler())  # else Python itself prints warnings


class Listeners:
    """The listeners of one connection. `dropped` counts the events for which there was no room."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._listeners: tuple[Listener, ...] = ()
        self._came: deque[Noted] = deque()
        self.dropped = 0

    def add(self, listener: Listener) -> None:
        """Add a listener. Raises InvalidParameter."""
        if not callable(listener) or inspect.iscoroutinefunction(listener):
            raise InvalidParameter(f"listener: a function of one argument (no coroutine function), not {listener!r}")
        with self._lock:
            self._listeners = (*self._listeners, listener)

    def remove(self, listener: Listener) -> None:
        """Remove a listener."""
        with self._lock:
            self._listeners = tuple(each for each in self._listeners if each != listener)

    def put(self, event: ConnectionEvent) -> None:
        """Record an event. The listeners are called a little later, because the session is being changed just now."""
        if len(self._came) >= WAITING_MAX:
            self._came.popleft()
            self.dropped += 1
        self._came.append((event, self._listeners))

    def _tell(self, event: ConnectionEvent, listeners: tuple[Listener, ...]) -> None:
        """Call those of `listeners` that were not removed meanwhile. One that came after the event is not told."""
        for listener in listeners:
            if listener not in self._listeners:
                continue
            try:
                listener(event)
            except Exception:  # the application's error must not keep the other listeners from being called
                log.exception("%s: a listener has raised", self._url)

    def _log(self, event: ConnectionEvent) -> None:
        if isinstance(event, SlowConsumer):
            what = "%s: this process takes its events too slowly: %d bytes wait, with more than %d it is cut off"
            log.warning(what, self._url, event.held_bytes, event.cut_bytes)
        elif event.state is ConnectionState.CONNECTED:
            log.info("%s: connected", self._url)
        else:
            level = logging.INFO if event.reason == CLOSED else logging.WARNING
            log.log(level, "%s: %s: %s", self._url, "over" if event.is_final else event.state, event.reason)


class ThreadListeners(Listeners):
    """For a connection with a worker. Its listeners run in another thread, so that they may block and use the
    connection."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._told: SimpleQueue[Noted | None] = SimpleQueue()
        self._has_thread = False

    def flush(self, *, is_over: bool = False) -> None:
        """Tell the listeners what has come. Called by the worker, which holds no lock then and runs no signal
        handler."""
        while self._came:
            event, listeners = self._came.popleft()
            self._log(event)
            if listeners:
                self._hand_over((event, listeners))
        if is_over and self._has_thread:
            self._told.put(None)

    def _hand_over(self, noted: Noted) -> None:
        if not self._has_thread:
            self._has_thread = True
            _thread.start_new_thread(self._run, ())
        if self._told.qsize() >= WAITING_MAX:
            try:
                self._told.get_nowait()
                self.dropped += 1
            except Empty:
                pass
        self._told.put(noted)

    def _run(self) -> None:
        while (noted := self._told.get()) is not None:
            self._tell(*noted)


class LoopListeners(Listeners):
    """For a connection of asyncio: the loop calls the listeners."""

    def __init__(self, url: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(url)
        self._loop = loop
        self._is_due = False

    def put(self, event: ConnectionEvent) -> None:
        super().put(event)
        if not self._is_due and not self._loop.is_closed():
            self._is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_due = False
        while self._came:
            event, listeners = self._came.popleft()
            self._log(event)
            self._tell(event, listeners)
