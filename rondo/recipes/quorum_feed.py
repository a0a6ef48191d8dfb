"""Tells the recipes for threads what the node says about quorum.

One thread asks for all recipes of a connection. It refers to the connection, so it ends with the last recipe. A
connection that the application has forgotten can then be closed.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from rondo import Error
from rondo.quorum import Change, Quorate

if TYPE_CHECKING:
    from rondo import Cluster

RETRY_S = 0.5
Subscriber = Callable[[Quorate], None]


class _Changes(Protocol):
    def __iter__(self) -> Iterator[Change]: ...

    def close(self) -> None: ...


class QuorumFeed:
    """The feed of one connection. It exists while there are subscribers."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._last: Quorate | None = None
        self._subscribers: set[Subscriber] = set()
        self._changes: _Changes | None = None
        self._is_over = threading.Event()

    def start(self) -> None:
        """Start the thread that asks."""
        threading.Thread(target=self._run, name="rondo-recipes-quorum", daemon=True).start()

    def add(self, subscriber: Subscriber) -> Quorate | None:
        """Add a subscriber. Returns what was told last. Under the lock."""
        self._subscribers.add(subscriber)
        return self._last

    def remove(self, subscriber: Subscriber) -> bool:
        """Remove a subscriber. Returns True if it was the last. Under the lock."""
        self._subscribers.discard(subscriber)
        return not self._subscribers

    def end(self) -> None:
        """Let the thread end."""
        self._is_over.set()
        with _lock:
            changes = self._changes
        if changes is not None:
            changes.close()

    def _run(self) -> None:
        while not (self._is_over.is_set() or self._cluster.is_closed):
            with contextlib.suppress(Error):  # the node, or its control process, may be away: it is asked again
                self._watch()
            self._is_over.wait(RETRY_S)
        with _lock:
            if _feeds.get(self._cluster) is self:  # the connection was closed before the recipes
                del _feeds[self._cluster]

    def _watch(self) -> None:
        changes = self._cluster.quorum.watch(current=True)
        with contextlib.closing(changes):
            with _lock:
                self._changes = changes
            # Who ends it sets the event first and then looks for the watch, so one of the two sees the other.
            if self._is_over.is_set():
                return
            for change in changes:
                if isinstance(change, Quorate):
                    self._tell(change)

    def _tell(self, change: Quorate) -> None:
        with _lock:
            self._last = change
            subscribers = list(self._subscribers)
        for subscriber in subscribers:
            subscriber(change)


_feeds: dict[Any, QuorumFeed] = {}
"""Of the connections that have recipes."""
_lock = threading.Lock()


def subscribe(cluster: Cluster, subscriber: Subscriber) -> None:
    """Tell a subscriber the present state, and later every change."""
    with _lock:
        feed = _feeds.get(cluster)
        is_first = feed is None
        if feed is None:
            feed = _feeds[cluster] = QuorumFeed(cluster)
        last = feed.add(subscriber)
    if is_first:
        feed.start()
    if last is not None:
        subscriber(last)


def unsubscribe(cluster: Cluster, subscriber: Subscriber) -> None:
    """Tell this subscriber no more. The feed ends with the last one."""
    with _lock:
        feed = _feeds.get(cluster)
        if feed is None or not feed.remove(subscriber):
            return
        del _feeds[cluster]
    feed.end()
