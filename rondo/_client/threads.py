"""What asyncio has done in a thread: each call has one of its own.

The loop's own threads are few, and the application's, which may keep them busy for long; and the interpreter's end
waits for them, but not for these. A call whose caller is cancelled is told to stop waiting.
"""

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from rondo._client.ask_link import CALLER, Caller

T = TypeVar("T")


async def in_thread(call: Callable[[], T], discard: Callable[[T], object] | None = None) -> T:
    """What `call` returns, or raises. `discard` is called with what it returns when nobody waits for that any more."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    caller = Caller()

    def run() -> None:
        CALLER.set(caller)
        try:
            result = call()
        except BaseException as error:
            tell(_fail, error)
        else:
            if not tell(_succeed, result) and discard is not None:
                discard(result)

    def tell(how: Callable[..., None], what: Any) -> bool:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(how, what)
            return True
        return False

    def _succeed(result: T) -> None:
        if not future.done():
            future.set_result(result)
        elif discard is not None:
            discard(result)

    def _fail(error: BaseException) -> None:
        if not future.done():
            future.set_exception(error)

    threading.Thread(target=contextvars.copy_context().run, args=(run,), name="rondo-ask", daemon=True).start()
    try:
        return await future
    except asyncio.CancelledError:
        caller.give_up()
        # It may have come in the same turn of the loop.
        is_lost = future.done() and not future.cancelled() and future.exception() is None
        if is_lost and discard is not None:
            discard(future.result())
        raise
