"""SAM for applications on asyncio: the names of `rondo.sam`, awaitable. Available as `rondo.aio.sam`.

    await rondo.aio.sam.initialize(1000, rondo.sam.Policy.RESTART)
    instance = await rondo.aio.sam.register()
    rondo.aio.sam.health_check_callback(lambda: True)    # the loop itself confirms: a loop that hangs is noticed
    await rondo.aio.sam.start()

Requests wait in a thread, so that the loop goes on. One that is cancelled waits no longer; it may be done still.
"""

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from rondo._client.arguments import bytes_of, function_of
from rondo._client.threads import in_thread
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
    _forget_the_parents()
    _check_free()
    made = await in_thread(lambda: Client(interval_ms, policy, endpoint, timeout), Client.close)
    try:
        _check_free()  # another task may have been faster
    except Exists:
        made.close()
        raise
    _client = made


async def register() -> int:
    """As `rondo.sam.register`."""
    return await in_thread(_initialized().register)


async def start() -> None:
    """As `rondo.sam.start`."""
    await in_thread(_initialized().start)
    _confirm()


async def stop() -> None:
    """As `rondo.sam.stop`."""
    await _stop_confirming()
    client = _initialized()
    await in_thread(lambda: client.ask(Op.STOP_CHECKS))
    client.is_started = False


async def finalize() -> None:
    """As `rondo.sam.finalize`."""
    global _client, _callback
    client = _initialized()
    await _stop_confirming()
    if client.instance >= 0:
        await in_thread(lambda: client.ask(Op.FINALIZE))
    client.close()
    _client = _callback = None


def health_check_send() -> None:
    """As `rondo.sam.health_check_send`. It does not block, so it is not awaitable."""
    _initialized().health_check_send()


def health_check_callback(function: HealthCheck | None) -> None:
    """As `rondo.sam.health_check_callback`, but the loop calls `function` (which may be a coroutine function)."""
    global _callback, _confirming
    if function is not None:
        function_of(function, "function", may_be_awaited=True)
    _forget_the_parents()
    if _confirming is not None:
        _confirming.cancel()
        _confirming = None
    _callback = function
    _confirm()


async def warn_signal_set(number: int) -> None:
    """As `rondo.sam.warn_signal_set`."""
    client = _initialized()
    await in_thread(lambda: client.warn_signal_set(number))


async def data_store(data: bytes) -> None:
    """As `rondo.sam.data_store`."""
    await _ask(Op.STORE, {"data": bytes_of(data)})


async def data_restore() -> bytes:
    """As `rondo.sam.data_restore`."""
    data: bytes = await _ask(Op.RESTORE)
    return data


async def data_size() -> int:
    """As `rondo.sam.data_size`."""
    return len(await data_restore())


async def mark_failed() -> None:
    """As `rondo.sam.mark_failed`."""
    await _ask(Op.MARK_FAILED)


async def _ask(op: Op, arguments: dict[str, Any] | None = None) -> Any:
    client = _initialized()
    return await in_thread(lambda: client.ask(op, arguments))


def _check_free() -> None:
    if _client is not None:
        raise Exists("this process has initialized SAM already; finalize() first")


def _forget_the_parents() -> None:
    """A process that was forked off is another application, or none."""
    global _client, _callback, _confirming
    if _client is not None and not _client.is_ours:
        _client = _callback = _confirming = None


def _initialized() -> Client:
    _forget_the_parents()
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
