"""What a link polls besides its socket, and what becomes of it in a child process."""

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
"""Of one system call, which takes no time-out of months; whoever waits longer waits again."""
SPARE_MAX = 4
_spare: deque[int] = deque()
"""Eventfds that nobody has any more, for the next ones. A thread may be about to write to one at the very moment when
another thread gives it back: that may cost a look in vain, but must not go into another file of that number."""


class Wakeup:
    """An eventfd: one thread waits for it, others set it off. It is given back with this object at the latest."""

    __slots__ = ("_descriptor", "set")

    def __init__(self) -> None:
        try:
            descriptor = _spare.popleft()
        except IndexError:
            descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._descriptor = descriptor
        self.set: Callable[[], object] = partial(os.eventfd_write, descriptor, 1)
        """Wake who waits, or who waits next. No function written in Python: a signal handler could come before it has
        done anything."""

    def fileno(self) -> int:
        """What to poll; -1 once it is closed."""
        return self._descriptor

    def clear(self) -> None:
        """It was seen."""
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
    """Which of these are readable; waits for that, at most so long, and at most `POLL_S_MAX`."""
    poller = select.poll()
    for descriptor in descriptors:
        if descriptor >= 0:
            poller.register(descriptor, select.POLLIN)
    timeout_ms = None if timeout_s is None else math.ceil(min(timeout_s, POLL_S_MAX) * 1000)
    return [descriptor for descriptor, _ in poller.poll(timeout_ms)]


class Inherited(Protocol):
    """What a child process has a copy of."""

    def forsake(self) -> None:
        """Close it, in the child, without a word to the other side."""


forks = 0
"""How often this process is a fork away from the one in which this module was loaded. A comparison with it is cheaper
than to ask for the process id with every call."""

_inherited: "weakref.WeakSet[Inherited]" = weakref.WeakSet()


def inherit(what: Inherited) -> None:
    """Close this in every child: while a child has a copy of a socket, the end of its parent does not show there."""
    _inherited.add(what)


def _forked() -> None:
    global forks, _inherited
    forks += 1
    inherited, _inherited = list(_inherited), weakref.WeakSet()
    for each in inherited:
        each.forsake()
    while _spare:
        # The parent has them, too.
        os.close(_spare.popleft())


os.register_at_fork(after_in_child=_forked)
