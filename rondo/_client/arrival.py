"""Notice when a socket file appears. This is how a client waits for an absent node without polling.

One thread of the process waits for all sockets that somebody waits for, and ends with the last of them. The kernel
reports a new file by inotify on its directory. Where the user has no inotify instance left, the thread waits at the
FIFO beside the socket (`rondo.ipc.doorbell`). Where neither works, `watch` returns None and the caller has to look for
the socket from time to time.
"""

from __future__ import annotations  # gevent removes `select.epoll`; `connect` reports that

import contextlib
import ctypes
import functools
import os
import select
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from rondo.ipc.doorbell import bell_of, wait_at

IN_MOVED_TO, IN_CREATE, IN_DELETE_SELF, IN_MOVE_SELF = 0x80, 0x100, 0x400, 0x800
IN_ONLYDIR = 0x0100_0000
IN_IGNORED = 0x8000
MASK = IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR
READ_BYTES = 16 * 1024
_EVENT = struct.Struct("iIII")
"""struct inotify_event: watch, mask, cookie, length of the name that follows."""

Callback = Callable[[], None]


class Arrivals:
    """All watches, by directory. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._poll: select.epoll | None = None
        self._wakeup = self._inotify = -1
        self._watches: dict[Path, int] = {}
        self._waiting: dict[int, tuple[Path, bytes, Callback]] = {}
        """By ticket: the directory, the name in it, and the callback."""
        self._bells: dict[Path, int] = {}
        """By path: the open descriptor of each FIFO that has not hung up yet."""
        self._at_bells: dict[int, tuple[Path, Callback]] = {}
        """By ticket: the FIFO and the callback."""
        self._last_ticket = 0

    def __len__(self) -> int:
        """How many callers wait for a directory."""
        return len(self._waiting)

    def watch(self, path: Path, arrived: Callback) -> int | None:
        """Call `arrived`, in the watching thread, when a file of this name appears or its directory comes or goes. It
        may be called only once. Returns the ticket for `forget`; None if the kernel cannot report it."""
        with self._lock:
            begins = self._poll is None
            poll = self._poll = self._poll or select.epoll()
            if self._inotify < 0:
                self._inotify = _libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
                if self._inotify >= 0:
                    poll.register(self._inotify, select.EPOLLIN)
            told = self._watch(path.absolute(), arrived) or self._wait_at_bell(bell_of(path.absolute()), arrived, poll)
            if told and begins:
                self._begin(poll)
            elif not told and begins:
                self._forget_all()
                poll.close()
            return self._last_ticket if told else None

    def _watch(self, path: Path, arrived: Callback) -> bool:
        directory, name = path.parent, path.name
        if self._inotify < 0:
            return False
        while not self._is_watched(directory):
            # The directory does not exist yet: wait for it first.
            if directory == directory.parent:
                return False
            directory, name = directory.parent, directory.name
        self._last_ticket += 1
        self._waiting[self._last_ticket] = directory, os.fsencode(name), arrived
        return True

    def _wait_at_bell(self, bell: Path, arrived: Callback, poll: select.epoll) -> bool:
        if bell not in self._bells:
            descriptor = wait_at(bell)
            if descriptor is None:
                return False
            self._bells[bell] = descriptor
            poll.register(descriptor, 0)  # EPOLLHUP is always reported
        self._last_ticket += 1
        self._at_bells[self._last_ticket] = bell, arrived
        return True

    def _is_watched(self, directory: Path) -> bool:
        if directory not in self._watches:
            watch = _libc().inotify_add_watch(self._inotify, os.fsencode(directory), MASK)
            if watch < 0:
                return False
            self._watches[directory] = watch
        return True

    def forget(self, ticket: int) -> None:
        """Cancel a watch."""
        with self._lock:
            self._waiting.pop(ticket, None)
            bell, _ = self._at_bells.pop(ticket, (None, None))
            if bell in self._bells and all(bell != other for other, _ in self._at_bells.values()):
                self._take_down(bell)
            self._end_if_idle()

    def _take_down(self, bell: Path) -> None:
        descriptor = self._bells.pop(bell)
        if self._poll is not None:
            self._poll.unregister(descriptor)
        os.close(descriptor)

    def _begin(self, poll: select.epoll) -> None:
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        poll.register(self._wakeup, select.EPOLLIN)
        arguments = (poll, self._wakeup)
        threading.Thread(target=self._run, args=arguments, name="rondo-arrivals", daemon=True).start()

    def _end_if_idle(self) -> None:
        if not self._waiting and not self._at_bells and self._poll is not None:
            self._forget_all()
            os.eventfd_write(self._wakeup, 1)  # the thread closes the rest

    def _forget_all(self) -> None:
        if self._inotify >= 0:
            os.close(self._inotify)
        self._poll, self._inotify = None, -1
        self._watches.clear()

    def _run(self, poll: select.epoll, wakeup: int) -> None:
        while True:
            ready = [descriptor for descriptor, _ in poll.poll()]
            with self._lock:
                if self._poll is not poll:
                    poll.close()
                    os.close(wakeup)
                    return
                called = [each for descriptor in ready for each in self._heard(descriptor)]
            for arrived in called:
                arrived()

    def _heard(self, descriptor: int) -> list[Callback]:
        """The watches that an event of this descriptor concerns. Under `lock`."""
        if descriptor == self._inotify:
            with contextlib.suppress(BlockingIOError):
                return self._concerned(os.read(descriptor, READ_BYTES))
        for bell, held in self._bells.items():
            if held == descriptor:
                self._take_down(bell)
                return [arrived for where, arrived in self._at_bells.values() if where == bell]
        return []

    def _concerned(self, data: bytes) -> list[Callback]:
        """The watches that these inotify events concern. Under `lock`."""
        names: set[bytes] = set()
        gone: set[int] = set()
        at = 0
        while at < len(data):
            watch, mask, _, name_bytes = _EVENT.unpack_from(data, at)
            at += _EVENT.size + name_bytes
            names.add(data[at - name_bytes : at].rstrip(b"\0"))
            if mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF):
                gone.add(watch)
        directories = {path for path, watch in self._watches.items() if watch in gone}
        for each in directories:
            del self._watches[each]
        return [
            arrived for directory, name, arrived in self._waiting.values() if name in names or directory in directories
        ]

    def after_fork(self) -> None:
        """In a forked child nobody waits. The parent's thread still polls the same descriptors, so they are only
        closed."""
        if self._poll is not None:
            self._poll.close()
            for each in (self._inotify, self._wakeup, *self._bells.values()):
                with contextlib.suppress(OSError):
                    os.close(each)
        self.__init__()  # type: ignore[misc]  # all that there was is the parent's


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


ARRIVALS = Arrivals()
"""The watches of this process."""

os.register_at_fork(after_in_child=ARRIVALS.after_fork)
