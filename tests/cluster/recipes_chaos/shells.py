"""The recipes as a worker's threads use them: those of `rondo.recipes`, or those of `rondo.aio.recipes` in a loop.

Both are in the same groups and serve the same threads, so what the worker does and what the checker demands are the
same. A call into the loop is a coroutine of its own there, beside those of the other threads.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import rondo
from rondo import recipes
from rondo.aio import recipes as aio_recipes
from rondo.recipes import Replicated, Store, replicated

ASYNCIO, BLOCKING = "asyncio", "blocking"
"""The names of the two kinds of shells."""
OPEN_S = 20.0
"""A recipe that is not ready by then is opened anew."""
COMPACT_BYTES = 100_000
NODES_MIN = 2
"""Of three. So nobody begins alone a state that is lost when it is cut off."""


class Shells(Protocol):
    """How a worker opens recipes."""

    def open(self, kind: str, *arguments: Any) -> Any:
        """A recipe by the name of its class. Raises NoQuorum, Timeout."""

    def slow(self, value: str, seconds: float) -> Callable[[], Any]:
        """For `Once`: what takes a while and returns that value."""

    def close(self) -> None:
        """Close the connection."""


class Notes(Replicated):
    """A list of notes whose state is on disk."""

    def __init__(self, cluster: rondo.Cluster, directory: str, *, nodes_min: int, timeout: float) -> None:
        self.notes: list[str] = []
        store = Store(directory, fsync=False, compact_bytes=COMPACT_BYTES)
        super().__init__(cluster, "notes", nodes_min=nodes_min, timeout=timeout, store=store)

    @replicated
    def add(self, note: str) -> int:
        """One more."""
        self.notes.append(note)
        return len(self.notes)


class AioNotes(aio_recipes.Replicated):
    """The same in the same group."""

    def __init__(self, cluster: rondo.aio.Cluster, directory: str, *, nodes_min: int, timeout: float) -> None:
        self.notes: list[str] = []
        store = Store(directory, fsync=False, compact_bytes=COMPACT_BYTES)
        super().__init__(cluster, "notes", nodes_min=nodes_min, timeout=timeout, store=store)

    @aio_recipes.replicated
    def add(self, note: str) -> int:
        """One more."""
        self.notes.append(note)
        return len(self.notes)


class BlockingShells:
    """The recipes for threads."""

    def __init__(self, endpoint: str) -> None:
        # A worker whose connection fails would wait for ever. The parent kills it.
        self._cluster = rondo.connect(endpoint, timeout=None)

    def open(self, kind: str, *arguments: Any) -> Any:
        """See `Shells`."""
        make: Any = Notes if kind == "Notes" else getattr(recipes, kind)
        return make(self._cluster, *arguments, nodes_min=NODES_MIN, timeout=OPEN_S)

    def slow(self, value: str, seconds: float) -> Callable[[], Any]:
        """See `Shells`."""

        def do() -> str:
            time.sleep(seconds)
            return value

        return do

    def close(self) -> None:
        """See `Shells`."""
        self._cluster.close()


class AioShells:
    """The recipes of asyncio, in an event loop that has a thread of its own."""

    def __init__(self, endpoint: str) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._cluster = self.run(self._connect, endpoint)

    @staticmethod
    async def _connect(endpoint: str) -> rondo.aio.Cluster:
        return await rondo.aio.connect(endpoint, timeout=None)

    def run(self, what: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Call a function in the loop. Returns its value, or the result of the coroutine that it returns."""

        async def call() -> Any:
            result = what(*arguments, **keywords)
            return await result if inspect.isawaitable(result) else result

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result()

    def open(self, kind: str, *arguments: Any) -> Any:
        """See `Shells`."""
        make: Any = AioNotes if kind == "Notes" else getattr(aio_recipes, kind)
        return InLoop(self, self.run(make, self._cluster, *arguments, nodes_min=NODES_MIN, timeout=OPEN_S))

    def slow(self, value: str, seconds: float) -> Callable[[], Any]:
        """See `Shells`."""

        async def do() -> str:
            await asyncio.sleep(seconds)
            return value

        return do

    def close(self) -> None:
        """See `Shells`."""
        self.run(self._cluster.close)


class InLoop:
    """A recipe of asyncio, called from threads as if it were one of `rondo.recipes`."""

    def __init__(self, shells: AioShells, recipe: Any) -> None:
        self._shells = shells
        self._recipe = recipe

    def __getattr__(self, name: str) -> Any:
        # What is no call is only looked at, and may be: it is so from within the loop, too.
        found = getattr(self._recipe, name)
        if not callable(found):
            return found
        return lambda *arguments, **keywords: self._shells.run(found, *arguments, **keywords)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._shells.run(self._recipe.set, key, value)

    def __len__(self) -> int:
        length: int = self._shells.run(len, self._recipe)
        return length
