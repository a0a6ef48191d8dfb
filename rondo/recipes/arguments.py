"""Checks of the arguments of recipes, in the call that gives them. An error names the argument and the value.

Otherwise most wrong values would reach all processes of the group, and fail or do harm there.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, TypeVar

from rondo import InvalidParameter
from rondo.recipes.machines import INTEGER_MAX, INTEGER_MIN, pack

T = TypeVar("T")
SECONDS_MAX = 10 * 365 * 86400.0
"""Ten years are for ever: the system's clocks do not take more."""
SHOWN = 80
_PLAIN = (bytes, float, bool, type(None))


def name_of(name: str) -> str:
    """The name of a recipe. The group checks its length."""
    try:
        if isinstance(name, str) and name.encode():
            return name
    except UnicodeEncodeError:
        pass
    raise InvalidParameter(f"name: a text of 1 to some 100 bytes of UTF-8; not {name!r:.{SHOWN}}")


def cluster_of(cluster: T, *, is_aio: bool = False) -> T:
    """A connection, of the kind that the recipe is for."""
    status = getattr(getattr(cluster, "quorum", None), "status", None)
    if status is None or inspect.iscoroutinefunction(status) is not is_aio:
        wanted = "rondo.aio.connect()" if is_aio else "rondo.connect()"
        raise InvalidParameter(f"cluster: what {wanted} gives; not {cluster!r:.{SHOWN}}")
    return cluster


def seconds_of(timeout: float | None, default_s: float) -> float:
    """A timeout in seconds. None: that of the recipe."""
    if timeout is None:
        return default_s
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or math.isnan(timeout):
        raise InvalidParameter(f"timeout: a number of seconds; not {timeout!r:.{SHOWN}}")
    return min(float(timeout), SECONDS_MAX)


def number_of(value: int, name: str, least: int = INTEGER_MIN, most: int = INTEGER_MAX) -> int:
    """A whole number in these bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidParameter(f"{name}: a whole number from {least} to {most}; not {value!r:.{SHOWN}}")
    return int(value)


def truth_of(value: bool, name: str) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise InvalidParameter(f"{name}: True or False; not {value!r:.{SHOWN}}")
    return value


def value_of(value: T, name: str) -> T:
    """A value that msgpack can hold."""
    if type(value) in _PLAIN or (isinstance(value, str) and value.isascii()):
        return value
    try:
        pack(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidParameter(f"{name}: what msgpack can hold; not {value!r:.{SHOWN}} ({error})") from None
    return value


def key_of(key: T) -> T:
    """A value that can be a key of a msgpack dictionary."""
    if isinstance(key, list | tuple | dict | set) or key != key:
        raise InvalidParameter(f"key: a text, bytes, a number, a truth or None; not {key!r:.{SHOWN}}")
    return value_of(key, "key")


def bytes_of(value: bytes, name: str) -> bytes:
    """A bytes-like object as bytes."""
    try:
        return bytes(memoryview(value))
    except TypeError:
        what = f"{type(value).__name__} {value!r:.{SHOWN}}"
        raise InvalidParameter(f"{name}: bytes, or what is like them; not {what}") from None


def function_of(value: Callable[..., T], name: str, *, may_be_awaited: bool = False) -> Callable[..., T]:
    """A function."""
    if not callable(value) or (inspect.iscoroutinefunction(value) and not may_be_awaited):
        raise InvalidParameter(
            f"{name}: a function{'' if may_be_awaited else ', that need not be awaited'}; not {value!r:.{SHOWN}}"
        )
    return value


def instance_of(value: Any, kind: type[T], name: str) -> T:
    """An instance of that class."""
    if not isinstance(value, kind):
        raise InvalidParameter(f"{name}: a {kind.__name__}; not {value!r:.{SHOWN}}")
    return value
