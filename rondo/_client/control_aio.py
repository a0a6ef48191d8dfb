"""`cluster.quorum`, `cluster.cmap` and `cluster.nodes()` for asyncio: the same as in `rondo`, awaitable.

What waits, waits in a thread of its own, which stops waiting when the caller is cancelled.
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from rondo import cmap, quorum
from rondo._client import control as blocking
from rondo._client.ask_link import TIMEOUT_S
from rondo._client.control import Control, Watch
from rondo._client.threads import in_thread
from rondo.errors import BadHandle, NoResources
from rondo.protocol.control_gateway import Op


class Quorum:
    """Votes and quorum: `cluster.quorum`."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._asked = blocking.Quorum(control)

    async def status(self, timeout: float | None = TIMEOUT_S) -> quorum.QuorumStatus:
        """Votes, and whether this side may act."""
        return await in_thread(lambda: self._asked.status(timeout))

    async def set_expected(self, votes: int, timeout: float | None = TIMEOUT_S) -> None:
        """As `rondo`'s."""
        await in_thread(lambda: self._asked.set_expected(votes, timeout))

    async def set_votes(self, node: int, votes: int, timeout: float | None = TIMEOUT_S) -> None:
        """As `rondo`'s."""
        await in_thread(lambda: self._asked.set_votes(node, votes, timeout))

    async def cancel_wait_for_all(self, timeout: float | None = TIMEOUT_S) -> None:
        """As `rondo`'s."""
        await in_thread(lambda: self._asked.cancel_wait_for_all(timeout))

    async def watch(self, *, current: bool = False) -> AsyncIterator[quorum.Change]:
        """Changes from the first `anext` on, without end. `current`: the present state comes first."""
        async with contextlib.aclosing(_batches(self._control, blocking.QUORUM, "")) as batches:
            async for events in batches:
                if events is None or (current and not events):
                    current = False
                    yield blocking.now_of(await self.status())
                for event in events or ():
                    change = quorum.change_of(event)
                    if change is not None:
                        yield change


class Cmap:
    """Keys: `cluster.cmap`."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._asked = blocking.Cmap(control)

    async def get(self, key: str, *, which: str = "icmap", timeout: float | None = TIMEOUT_S) -> cmap.Value:
        """The value of a key. Raises NotExist."""
        return await in_thread(lambda: self._asked.get(key, which=which, timeout=timeout))

    async def items(
        self, prefix: str = "", *, which: str = "icmap", timeout: float | None = TIMEOUT_S
    ) -> dict[str, cmap.Value]:
        """Keys that begin with `prefix` and their values, ascending."""
        return await in_thread(lambda: self._asked.items(prefix, which=which, timeout=timeout))

    async def set(
        self,
        key: str,
        value: "cmap.Value | str | bytes",
        timeout: float | None = TIMEOUT_S,
        *,
        which: str = "icmap",
    ) -> None:
        """As `rondo`'s."""
        await in_thread(lambda: self._asked.set(key, value, timeout, which=which))

    async def delete(self, key: str, timeout: float | None = TIMEOUT_S) -> None:
        """As `rondo`'s."""
        await in_thread(lambda: self._asked.delete(key, timeout))

    async def increment(self, key: str, step: int = 1, timeout: float | None = TIMEOUT_S) -> cmap.Value:
        """As `rondo`'s."""
        return await in_thread(lambda: self._asked.increment(key, step, timeout))

    async def watch(self, prefix: str = "", *, which: str = "icmap") -> AsyncIterator[cmap.Change]:
        """As `rondo`'s, from the first `anext` on, without end."""
        async with contextlib.aclosing(_batches(self._control, blocking.watched(which), prefix)) as batches:
            async for events in batches:
                if events is None:
                    raise NoResources(blocking.LOST)
                for event in events:
                    yield cmap.change_of(event)


async def _batches(control: Control, of: str, prefix: str) -> AsyncGenerator[Any, None]:
    """First an empty batch, when the watch has begun; then the events as they come, None for lost ones."""
    watch: Watch | None = None
    try:
        watch = await in_thread(lambda: control.watch(of, prefix), Watch.shut)
        yield []
        while True:
            try:
                events = await in_thread(watch.next)
            except BadHandle:
                return
            yield events
    finally:
        if watch is not None:
            watch.shut()


async def nodes(control: Control, timeout: float | None) -> tuple[blocking.NodeInfo, ...]:
    """The nodes of the configuration and of the ring."""
    said = await in_thread(lambda: control.ask(Op.NODES, timeout=timeout))
    return blocking.nodes_of(said)
