"""`cluster.cfg` for asyncio: the same as in `rondo`, awaitable."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from rondo._client import cfg as blocking
from rondo._client.ask_link import TIMEOUT_S
from rondo._client.cfg import RELOAD_TIMEOUT_S, SHUTDOWN_TIMEOUT_S, Tracker
from rondo._client.control import Control


class Cfg:
    """Operations on nodes: `cluster.cfg`."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._asked = blocking.Cfg(control)

    async def kill(self, node: int, reason: str = "", timeout: float | None = TIMEOUT_S) -> None:
        """As in `rondo`."""
        await asyncio.to_thread(self._asked.kill, node, reason, timeout)

    async def reload(self, timeout: float | None = RELOAD_TIMEOUT_S) -> tuple[str, ...]:
        """As in `rondo`."""
        return await asyncio.to_thread(self._asked.reload, timeout)

    async def reopen_logs(self, timeout: float | None = TIMEOUT_S) -> None:
        """As in `rondo`."""
        await asyncio.to_thread(self._asked.reopen_logs, timeout)

    async def shut_down(self, *, force: bool = False, timeout: float | None = SHUTDOWN_TIMEOUT_S) -> None:
        """As in `rondo`."""
        await asyncio.to_thread(lambda: self._asked.shut_down(force=force, timeout=timeout))

    async def watch_shutdowns(self) -> AsyncIterator["ShutdownRequest"]:
        """As in `rondo`, from the first `anext` on."""
        executor = ThreadPoolExecutor(1, "rondo-shutdowns")
        loop = asyncio.get_running_loop()
        tracker = Tracker(self._control)
        try:
            while not tracker.is_closed:
                request = await loop.run_in_executor(executor, tracker.next)
                if request is not None:
                    yield ShutdownRequest(request)
        finally:
            await asyncio.shield(loop.run_in_executor(None, tracker.close))
            executor.shutdown(wait=False)


class ShutdownRequest:
    """A request to stop this node."""

    def __init__(self, request: blocking.ShutdownRequest) -> None:
        self._request = request
        self.is_certain = request.is_certain
        """The node will stop whatever is answered. This is the time to prepare for it."""

    async def agree(self) -> None:
        """As in `rondo`."""
        await asyncio.to_thread(self._request.agree)

    async def refuse(self) -> None:
        """As in `rondo`."""
        await asyncio.to_thread(self._request.refuse)
