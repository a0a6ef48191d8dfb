"""Health messages of applications: lines in a FIFO for each application (docs/PROTOCOL-CLIENT.md, "Health").

The application inherits the FIFO as the descriptor that RONDO_SAM_HEALTH names, or opens its path. Both sides open it
for reading and writing, so that neither notices when the other is killed and comes back.

A write does not wake SAM. It looks at all FIFOs together every LOOK_S with one system call. A message is therefore
dated late by at most that, and hundreds of healthy applications cost next to nothing. If an application floods its
FIFO, only a bounded amount is read, and its next look comes later. A flood delays only its own application.
"""

import contextlib
import fcntl
import os
import select
import stat
from collections.abc import Iterator

LOOK_S = 0.025
READ_BYTES = 4096
"""Read of one application in one look, and the size of its pipe: room for more than a thousand words."""
FLOOD_BYTES = 1024
FLOOD_S = 0.25
"""How long an application that floods its FIFO is not looked at."""
LINE_BYTES_MAX = 256
DROPPED_BYTES_MAX = 1024 * 1024
"""A writer can make a pipe this large (pipe-max-size), and a process that has left the application may go on
writing."""
WORDS = ("ok", "start", "stop", "failed")


class HealthError(OSError):
    """A FIFO cannot be used."""


class _Pipe:
    __slots__ = ("descriptor", "is_flooded", "name", "rest")

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self.descriptor = descriptor
        self.rest = b""
        self.is_flooded = False
        """The last look found more than any application has to say."""

    def words(self) -> list[str]:
        """The words since the last look: each word once, in the order in which they were last said."""
        try:
            data = os.read(self.descriptor, READ_BYTES)
        except OSError:
            return []
        self.is_flooded = len(data) >= FLOOD_BYTES
        if data == b"ok\n" and not self.rest:
            return ["ok"]
        *lines, rest = (self.rest + data).split(b"\n")
        self.rest = rest[:LINE_BYTES_MAX]
        last = [*dict.fromkeys(reversed(lines))]
        words = dict.fromkeys(each.strip().decode("ascii", "replace").lower() for each in last)
        return [*reversed(words)]


class HealthPipes:
    """The FIFOs of all running applications."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._by_descriptor: dict[int, _Pipe] = {}
        self._by_name: dict[str, _Pipe] = {}
        self._flooded: dict[str, float] = {}
        """Applications that are not looked at before that time (awake clock)."""
        self.floods = 0

    def open(self, name: str, path: str) -> None:
        """Listen to this application from now on. Raises HealthError."""
        if name in self._by_name:
            return
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise HealthError(error.errno, error.strerror, path) from None
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise HealthError(0, "not a FIFO", path)
        with contextlib.suppress(OSError):  # a full one stays as it is
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, READ_BYTES)
        pipe = _Pipe(name, descriptor)
        self._by_name[name] = self._by_descriptor[descriptor] = pipe
        self._poll.register(descriptor, select.EPOLLIN)

    def look(self, now_s: float) -> Iterator[tuple[str, list[str]]]:
        """The messages since the last look: name, words."""
        for name in [each for each, at_s in self._flooded.items() if at_s <= now_s]:
            del self._flooded[name]
            self._poll.modify(self._by_name[name].descriptor, select.EPOLLIN)
        if self._by_name:
            for descriptor, _ in self._poll.poll(0, len(self._by_name)):
                pipe = self._by_descriptor[descriptor]
                words = pipe.words()
                if pipe.is_flooded:
                    self.floods += 1
                    self._flooded[pipe.name] = now_s + FLOOD_S
                    self._poll.modify(descriptor, 0)
                yield pipe.name, words

    def drop(self, name: str) -> None:
        """Discard unread messages: those of a dead instance do not count for the next one."""
        pipe = self._by_name.get(name)
        if pipe is not None:
            pipe.rest = b""
            with contextlib.suppress(OSError):
                for _ in range(DROPPED_BYTES_MAX // READ_BYTES):
                    if not os.read(pipe.descriptor, READ_BYTES):
                        break

    def close(self, name: str) -> None:
        """Stop listening to it."""
        pipe = self._by_name.pop(name, None)
        self._flooded.pop(name, None)
        if pipe is not None:
            del self._by_descriptor[pipe.descriptor]
            os.close(pipe.descriptor)  # epoll forgets it

    def close_all(self) -> None:
        """Close all FIFOs."""
        for name in list(self._by_name):
            self.close(name)
        self._poll.close()
