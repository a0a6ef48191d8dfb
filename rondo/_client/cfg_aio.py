"""`cluster.cfg` for asyncio: the same as in `rondo`, awaitable."""

from collections.abc import AsyncIterator

from rondo._client import cfg as blocking
from rondo._client.ask_link import TIMEOUT_S
from rondo._client.cfg import RELOAD_TIMEOUT_S, SHUTDOWN_TIMEOUT_S, Tracker
from rondo._client.control import Control
from rondo._client.threads import in_thread


class Cfg:
    """Operations on nodes: `cluster.cfg`."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._asked = blocking.Cfg(control)

    async def kill(self, node: int, reason: str = "", timeout: float | None = TIMEOUT_S) -> None:
        """As `rondo`'s."""
        await in_thread(lambda: self._asked.kill(node, reason, timeout))

    async def reload(self, timeout: float | None = RELOAD_TIMEOUT_S) -> tuple[str, ...]:
        """As `rondo`'s."""
        return await in_thread(lambda: self._asked.reload(timeout))

    async def reopen_logs(self, timeout: float | None = TIMEOUT_S) -> None:
        """As `rondo`'s."""
        await in_thread(lambda: self._asked.reopen_logs(timeout))

    async def shut_down(self, *, force: bool = False, timeout: float | None = SHUTDOWN_TIMEOUT_S) -> None:
        """As `rondo`'s."""
        await in_thread(lambda: self._asked.shut_down(force=force, timeout=timeout))

    async def watch_shutdowns(self) -> AsyncIterator["ShutdownRequest"]:
        """As `rondo`'s, from the first `anext` on."""
        tracker = Tracker(self._control)
        try:
            while not tracker.is_closed:
                request = await in_thread(tracker.next)
                if request is not None:
                    yield ShutdownRequest(request)
        finally:
            tracker.shut()


class ShutdownRequest:
    """A request to stop this node."""

    def __init__(self, request: blocking.ShutdownRequest) -> None:
        self._request = request
        self.is_certain = request.is_certain
        """The node will stop whatever is answered. This is the time to prepare for it."""

    async def agree(self) -> None:
        """As `rondo`'s."""
        await in_thread(lambda: self._request.agree())

    async def refuse(self) -> None:
        """As `rondo`'s."""
        await in_thread(lambda: self._request.refuse())
