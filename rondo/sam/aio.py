"""SAM for applications on asyncio: the names of `rondo.sam`, awaitable. Available as `rondo.aio.sam`.

    await rondo.aio.sam.initialize(1000, rondo.sam.Policy.RESTART)
    instance = await rondo.aio.sam.register()
    rondo.aio.sam.health_check_callback(lambda: True)    # the loop itself confirms: a loop that hangs is noticed
    await rondo.aio.sam.start()

Blocking requests run in a thread, so that the loop goes on.
"""

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable

from rondo.errors import BadHandle, Exists
from rondo.protocol.sam_gateway import Op
from rondo.sam.client import CONNECT_TIMEOUT_S, Client, Policy

__all__ = [
    "Policy",
    "data_restore",
    "data_size",
    "data_store",
    "finalize",
    "health_check_callback",
    "health_check_send",
    "initialize",
    "mark_failed",
    "register",
    "start",
    "stop",
    "warn_signal_set",
]

HealthCheck = Callable[[], Awaitable[object] | object]

_client: Client | None = None
_callback: HealthCheck | None = None
_confirming: "asyncio.Task[None] | None" = None


async def initialize(
    interval_ms: int, policy: Policy, *, endpoint: str | None = None, timeout: float | None = CONNECT_TIMEOUT_S
) -> None:
    """As `rondo.sam.initialize`."""
    global _client
    if _client is not None:
        raise Exists("this process has initialized SAM already; finalize() first")
    _client = await asyncio.to_thread(Client, interval_ms, policy, endpoint, timeout)


async def register() -> int:
    """As `rondo.sam.register`."""
    return await asyncio.to_thread(_initialized().register)


async def start() -> None:
    """As `rondo.sam.start`."""
    await asyncio.to_thread(_initialized().start)
    _confirm()


async def stop() -> None:
    """As `rondo.sam.stop`."""
    await _stop_confirming()
    client = _initialized()
    await asyncio.to_thread(client.ask, Op.STOP_CHECKS)
    client.is_started = False


async def finalize() -> None:
    """As `rondo.sam.finalize`."""
    global _client, _callback
    client = _initialized()
    await _stop_confirming()
    if client.instance >= 0:
        await asyncio.to_thread(client.ask, Op.FINALIZE)
    client.close()
    _client = _callback = None


def health_check_send() -> None:
    """As `rondo.sam.health_check_send`. It does not block, so it is not awaitable."""
    _initialized().health_check_send()


def health_check_callback(function: HealthCheck | None) -> None:
    """As `rondo.sam.health_check_callback`, but the loop calls `function` (which may be a coroutine function)."""
    global _callback, _confirming
    if _confirming is not None:
        _confirming.cancel()
        _confirming = None
    _callback = function
    _confirm()


async def warn_signal_set(number: int) -> None:
    """As `rondo.sam.warn_signal_set`."""
    await asyncio.to_thread(_initialized().warn_signal_set, number)


async def data_store(data: bytes) -> None:
    """As `rondo.sam.data_store`."""
    await asyncio.to_thread(_initialized().ask, Op.STORE, {"data": bytes(data)})


async def data_restore() -> bytes:
    """As `rondo.sam.data_restore`."""
    data: bytes = await asyncio.to_thread(_initialized().ask, Op.RESTORE)
    return data


async def data_size() -> int:
    """As `rondo.sam.data_size`."""
    return len(await data_restore())


async def mark_failed() -> None:
    """As `rondo.sam.mark_failed`."""
    await asyncio.to_thread(_initialized().ask, Op.MARK_FAILED)


def _initialized() -> Client:
    if _client is None:
        raise BadHandle("initialize() comes first")
    return _client


def _confirm() -> None:
    global _confirming
    client = _client
    if _callback is not None and client is not None and client.is_started and client.interval_ms:
        _confirming = asyncio.get_running_loop().create_task(_run(client, _callback), name="rondo-sam")


async def _run(client: Client, function: HealthCheck) -> None:
    while True:
        with contextlib.suppress(Exception):
            result = function()
            if inspect.isawaitable(result):
                result = await result
            if result is not False:
                client.health_check_send()
        await asyncio.sleep(client.confirm_s)


async def _stop_confirming() -> None:
    global _confirming
    if _confirming is not None:
        _confirming.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await _confirming
        _confirming = None
