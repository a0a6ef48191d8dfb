"""The descriptors that a link polls besides its socket, and how a forked child closes its copies."""

import contextlib
import math
import os
import select
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

POLL_S_MAX = 3600.0
"""Limit of one system call, which takes no timeout of months. A longer wait is made of several."""
SPARE_MAX = 4
_spare: deque[int] = deque()
"""Unused eventfds, kept for reuse. A thread may be about to write to one just when another thread gives it back. That
wakes a later user once for nothing. If the number were closed and reused, the write would go into another file."""


class Wakeup:
    """An eventfd: one thread waits for it, others wake it. It is given back when this object is collected, if not
    before."""

    __slots__ = ("_descriptor", "set")

    def __init__(self) -> None:
        try:
            descriptor = _spare.popleft()
        except IndexError:
            descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._descriptor = descriptor
        self.set: Callable[[], object] = partial(os.eventfd_write, descriptor, 1)
        """Wake the thread that waits, or the next one that will. This is no Python function, so that no signal handler
        can run before it has done its work."""

    def fileno(self) -> int:
        """The descriptor to poll; -1 once it is closed."""
        return self._descriptor

    def clear(self) -> None:
        """Reset it after a wake-up."""
        with contextlib.suppress(OSError, ValueError):
            os.eventfd_read(self._descriptor)

    def close(self) -> None:
        """Give the descriptor back."""
        descriptor, self._descriptor, self.set = self._descriptor, -1, bool
        if descriptor >= 0:
            _spare.append(descriptor)
            while len(_spare) > SPARE_MAX:
                os.close(_spare.popleft())

    def __del__(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # it was never made, or the interpreter ends
            self.close()


def poll(timeout_s: float | None, *descriptors: int) -> list[int]:
    """Which of these descriptors are readable; waits for that at most `timeout_s`, and at most `POLL_S_MAX`."""
    poller = select.poll()
    for descriptor in descriptors:
        if descriptor >= 0:
            poller.register(descriptor, select.POLLIN)
    timeout_ms = None if timeout_s is None else math.ceil(min(timeout_s, POLL_S_MAX) * 1000)
    return [descriptor for descriptor, _ in poller.poll(timeout_ms)]


class Inherited(Protocol):
    """An object of which a forked child has a copy."""

    def forsake(self) -> None:
        """In the child: close the copy without telling the other side."""


forks = 0
"""How many forks lie between this process and the one that loaded this module. Comparing it is cheaper than asking for
the process id with every call."""

_inherited: "weakref.WeakSet[Inherited]" = weakref.WeakSet()


def inherit(what: Inherited) -> None:
    """Close this object in every forked child. While a child has a copy of a socket, the server does not see the end of
    the parent."""
    _inherited.add(what)


def _forked() -> None:
    global forks, _inherited
    forks += 1
    inherited, _inherited = list(_inherited), weakref.WeakSet()
    for each in inherited:
        each.forsake()
    while _spare:
        # The parent has these descriptors, too.
        os.close(_spare.popleft())


os.register_at_fork(after_in_child=_forked)
