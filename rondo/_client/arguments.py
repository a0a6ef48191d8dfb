"""What an application gives is looked at where it is given: an error names the argument and the value."""

import inspect
import math
import sys
import time
from enum import Enum
from typing import Any

from rondo.errors import InvalidParameter, NotSupported
from rondo.protocol.requests import Guarantee

_GUARANTEES = {int(each): each for each in Guarantee}
_PATCHED_BY = (("gevent", "gevent.monkey", "is_module_patched", ("threading", "thread", "select")),
               ("eventlet", "eventlet.patcher", "is_monkey_patched", ("thread", "select")))  # fmt: skip


class Default(Enum):
    """A time-out that was left out."""

    TIMEOUT = "the connection's default_timeout"

    def __repr__(self) -> str:
        return f"<{self.value}>"


DEFAULT = Default.TIMEOUT
TEXT_BYTES_MAX = 4096
"""Of a key's name or a reason: what is longer is none."""
DEFAULT_TIMEOUT_S = 30.0
"""How long calls wait for the node and the ring unless they, or their connection, are told otherwise."""


def seconds_of(timeout: float | Default | None, default_s: float | None) -> float | None:
    """A time-out, the connection's if it was left out. Raises InvalidParameter."""
    if timeout is DEFAULT:
        return default_s
    assert not isinstance(timeout, Default)
    check_seconds(timeout)
    return timeout


def deadline_of(timeout: float | None, name: str = "timeout") -> float | None:
    """When a time-out of that many seconds is over, by time.monotonic(); None = never. Raises InvalidParameter."""
    if timeout is None:
        return None
    check_seconds(timeout, name)
    return time.monotonic() + timeout


def check_seconds(timeout: float | None, name: str = "timeout") -> None:
    """Raise InvalidParameter for what is no number of seconds and not None."""
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or math.isnan(timeout):
        raise InvalidParameter(f"{name}: a number of seconds, or None for ever; not {timeout!r}")


def no_time(timeout: float) -> str:
    """What is said of a connection for which there is no time."""
    return f"timeout: {timeout!r} seconds leave no time to connect"


def guarantee_of(guarantee: int) -> Guarantee:
    """A guarantee; its number (cpg_guarantee_t) is as good. Raises InvalidParameter."""
    found = _GUARANTEES.get(guarantee) if type(guarantee) is int or isinstance(guarantee, Guarantee) else None
    if found is None:
        raise InvalidParameter(f"guarantee: rondo.Guarantee.AGREED or SAFE; not {guarantee!r}")
    return found


def bytes_of(data: bytes) -> bytes:
    """The bytes of what is bytes-like. Raises InvalidParameter."""
    try:
        return bytes(memoryview(data))
    except TypeError:
        raise InvalidParameter(f"data: bytes, or what is like them; not {type(data).__name__} {data!r:.80}") from None


def text_of(value: str, name: str, bytes_max: int = TEXT_BYTES_MAX) -> str:
    """A text that UTF-8 can hold, without NUL. Raises InvalidParameter."""
    if not isinstance(value, str):
        raise InvalidParameter(f"{name}: a text; not {type(value).__name__} {value!r:.80}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidParameter(f"{name}: a text that UTF-8 can hold; not {value!r:.80}") from None
    if size > bytes_max or "\0" in value:
        raise InvalidParameter(f"{name}: a text of at most {bytes_max} bytes without NUL; not {value!r:.80}")
    return str(value)


def number_of(value: int, name: str, least: int, most: int) -> int:
    """A whole number in these bounds. Raises InvalidParameter."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidParameter(f"{name}: a whole number from {least} to {most}; not {value!r:.80}")
    return int(value)


def truth_of(value: bool, name: str) -> bool:
    """True or False. Raises InvalidParameter."""
    if not isinstance(value, bool):
        raise InvalidParameter(f"{name}: True or False; not {value!r:.80}")
    return value


def function_of(value: Any, name: str, *, may_be_awaited: bool = False) -> Any:
    """A function. Raises InvalidParameter."""
    if not callable(value) or (inspect.iscoroutinefunction(value) and not may_be_awaited):
        which = "" if may_be_awaited else ", that need not be awaited"
        raise InvalidParameter(f"{name}: a function{which}; not {value!r:.80}")
    return value


def refuse_green_threads() -> None:
    """Raise NotSupported where threads and polls are not what they seem: a connection has a thread of its own."""
    for name, module_name, function, patched in _PATCHED_BY:
        is_patched = getattr(sys.modules.get(module_name), function, None)
        if is_patched is not None and any(is_patched(each) for each in patched):
            raise NotSupported(
                f"{name} has replaced the threads or polls of this process (monkey patching), and a connection to the "
                f"cluster needs real ones: connect in a process of its own, or without patching thread and select"
            )
