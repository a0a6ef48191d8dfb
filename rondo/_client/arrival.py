"""Being told when a socket file appears: how a client waits for a node that is away, at no cost.

One thread of the process waits for the kernel's word (inotify) about the directories of all sockets that somebody waits
for; it ends with the last of them. Where the kernel gives no such word (no directory, or the user has no inotify
instance left), `watch` says so, and who waits looks for himself now and then.
"""

import contextlib
import ctypes
import os
import select
import struct
import threading
from collections.abc import Callable
from pathlib import Path

IN_MOVED_TO, IN_CREATE, IN_DELETE_SELF, IN_MOVE_SELF = 0x80, 0x100, 0x400, 0x800
IN_ONLYDIR = 0x0100_0000
IN_IGNORED = 0x8000
MASK = IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR
READ_BYTES = 16 * 1024
_EVENT = struct.Struct("iIII")
"""struct inotify_event: watch, mask, cookie, length of the name that follows."""

Callback = Callable[[], None]


class Arrivals:
    """Who waits for which directory. Used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._descriptor = -1
        self._watches: dict[Path, int] = {}
        self._waiting: dict[int, tuple[Path, bytes, Callback]] = {}
        """By ticket: the directory, the name in it, and whom to call."""
        self._last_ticket = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def watch(self, path: Path, arrived: Callback) -> int | None:
        """Have `arrived` called, in a thread of its own, whenever something of this name appears, or its directory
        comes or goes. None: that cannot be. The number is for `forget`."""
        directory, name = path.absolute().parent, path.name
        with self._lock:
            if self._descriptor < 0 and not self._begin():
                return None
            while not self._is_watched(directory):
                # It is not there: wait for that first.
                if directory == directory.parent:
                    self._end_if_idle()
                    return None
                directory, name = directory.parent, directory.name
            self._last_ticket += 1
            self._waiting[self._last_ticket] = directory, os.fsencode(name), arrived
            return self._last_ticket

    def _is_watched(self, directory: Path) -> bool:
        if directory not in self._watches:
            watch = _libc().inotify_add_watch(self._descriptor, os.fsencode(directory), MASK)
            if watch < 0:
                return False
            self._watches[directory] = watch
        return True

    def forget(self, ticket: int) -> None:
        """Nobody waits for that any more."""
        with self._lock:
            self._waiting.pop(ticket, None)
            self._end_if_idle()

    def _begin(self) -> bool:
        descriptor = _libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if descriptor < 0:
            return False
        self._descriptor = descriptor
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        arguments = (descriptor, self._wakeup)
        threading.Thread(target=self._run, args=arguments, name="rondo-arrivals", daemon=True).start()
        return True

    def _end_if_idle(self) -> None:
        if not self._waiting and self._descriptor >= 0:
            # Its thread closes both descriptors.
            self._descriptor = -1
            self._watches.clear()
            os.eventfd_write(self._wakeup, 1)

    def _run(self, descriptor: int, wakeup: int) -> None:
        poll = select.poll()
        for each in (descriptor, wakeup):
            poll.register(each, select.POLLIN)
        while True:
            poll.poll()
            with self._lock:
                if self._descriptor != descriptor:
                    os.close(descriptor)
                    os.close(wakeup)
                    return
            data = b""
            with contextlib.suppress(BlockingIOError):
                data = os.read(descriptor, READ_BYTES)
            for arrived in self._concerned(data):
                arrived()

    def _concerned(self, data: bytes) -> list[Callback]:
        """Whom these events concern."""
        names: set[bytes] = set()
        gone: set[int] = set()
        at = 0
        while at < len(data):
            watch, mask, _, name_bytes = _EVENT.unpack_from(data, at)
            at += _EVENT.size + name_bytes
            names.add(data[at - name_bytes : at].rstrip(b"\0"))
            if mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF):
                gone.add(watch)
        with self._lock:
            directories = {path for path, watch in self._watches.items() if watch in gone}
            for each in directories:
                del self._watches[each]
            return [
                arrived
                for directory, name, arrived in self._waiting.values()
                if name in names or directory in directories
            ]

    def after_fork(self) -> None:
        """In the child: nobody waits here."""
        if self._descriptor >= 0:
            for each in (self._descriptor, self._wakeup):
                with contextlib.suppress(OSError):
                    os.close(each)
        self.__init__()  # type: ignore[misc]  # all that there was is the parent's


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


ARRIVALS = Arrivals()
"""Of this process."""

os.register_at_fork(after_in_child=ARRIVALS.after_fork)
