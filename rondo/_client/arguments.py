"""Checks of the arguments of public calls. They are made in the call itself, so that the error names the argument."""

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
    """The type of a timeout that was not given."""

    TIMEOUT = "the connection's default_timeout"

    def __repr__(self) -> str:
        return f"<{self.value}>"


DEFAULT = Default.TIMEOUT
TEXT_BYTES_MAX = 4096
"""Of a key's name or a reason: what is longer is none."""
DEFAULT_TIMEOUT_S = 30.0
"""How long calls wait for the node and the ring, unless the call or its connection says otherwise."""


def seconds_of(timeout: float | Default | None, default_s: float | None) -> float | None:
    """A timeout in seconds; the connection's default if none was given. Raises InvalidParameter."""
    if timeout is DEFAULT:
        return default_s
    assert not isinstance(timeout, Default)
    check_seconds(timeout)
    return timeout


def deadline_of(timeout: float | None, name: str = "timeout") -> float | None:
    """The time.monotonic() at which a timeout of that many seconds expires; None = never. Raises InvalidParameter."""
    if timeout is None:
        return None
    check_seconds(timeout, name)
    return time.monotonic() + timeout


def check_seconds(timeout: float | None, name: str = "timeout") -> None:
    """Raise InvalidParameter unless `timeout` is None or a number of seconds."""
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or math.isnan(timeout):
        raise InvalidParameter(f"{name}: a number of seconds, or None for ever; not {timeout!r}")


def check_duration(seconds: float | None, name: str) -> None:
    """Raise InvalidParameter unless `seconds` is None or a number of seconds that is not negative."""
    check_seconds(seconds, name)
    if seconds is not None and seconds < 0:
        raise InvalidParameter(f"{name}: a number of seconds from 0 on, or None; not {seconds!r}")


def no_time(timeout: float) -> str:
    """The error text of a `connect` whose timeout is zero or less."""
    return f"timeout: {timeout!r} seconds leave no time to connect"


def guarantee_of(guarantee: int) -> Guarantee:
    """The guarantee, given as a `Guarantee` or as its number (cpg_guarantee_t). Raises InvalidParameter."""
    found = _GUARANTEES.get(guarantee) if type(guarantee) is int or isinstance(guarantee, Guarantee) else None
    if found is None:
        raise InvalidParameter(f"guarantee: rondo.Guarantee.AGREED or SAFE; not {guarantee!r}")
    return found


def bytes_of(data: bytes) -> bytes:
    """A bytes-like object as bytes. Raises InvalidParameter."""
    try:
        return bytes(memoryview(data))
    except TypeError:
        raise InvalidParameter(f"data: a bytes-like object, not {type(data).__name__} {data!r:.80}") from None


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
    """Raise NotSupported where threads or polls were monkey-patched: a connection needs a real thread of its own."""
    for name, module_name, function, patched in _PATCHED_BY:
        is_patched = getattr(sys.modules.get(module_name), function, None)
        if is_patched is not None and any(is_patched(each) for each in patched):
            raise NotSupported(
                f"{name} has replaced the threads or polls of this process (monkey patching), and a connection to the "
                f"cluster needs real ones: connect in a process of its own, or without patching thread and select"
            )
