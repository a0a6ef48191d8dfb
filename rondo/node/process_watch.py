"""Which process another one is, and knowing at once that it has died."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from pathlib import Path

SO_PEERPIDFD = 77
"""Option of a Unix socket: a pidfd of the process that has connected, Linux 6.5 (asm-generic/socket.h)."""
GONE = -1
"""The start time of a process that had ended before it could be looked at."""


def start_time_of(pid: int) -> int:
    """When a process started, in clock ticks since boot (field 22 of /proc/PID/stat); 0 if it cannot be told.

    Pid and start time together name a process for good; the pid alone is used again.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        # The name of the program stands in parentheses and may hold anything, these included.
        return int(stat[stat.rindex(b")") + 2 :].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def start_time_of_peer(stream: socket.socket, pid: int) -> int:
    """When the process started that has connected this Unix socket; `pid` is what the kernel says of it.

    The socket may be in other hands by now, and the number another process's: GONE if that process has ended, as far as
    the kernel tells (before Linux 6.5 it is the process that has the number now). 0 if it is in another pid namespace.
    """
    if not pid:
        return 0
    try:
        found = stream.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD, struct.calcsize("i"))
    except OSError as error:
        return GONE if isinstance(error, ProcessLookupError) else start_time_of(pid) or GONE
    (descriptor,) = struct.unpack("i", found)
    try:
        start_time = start_time_of(pid)
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        return GONE if poller.poll(0) or not start_time else start_time
    finally:
        os.close(descriptor)


class ProcessWatch:
    """The life of one process. `fileno` becomes readable when it dies, where the kernel can say so (pidfd, Linux 5.3);
    elsewhere `fileno` is -1 and `is_alive` has to be asked now and then."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._gone = False
        self._fd = -1
        try:
            self._fd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._gone = True
        except (OSError, AttributeError):
            pass

    def fileno(self) -> int:
        """Descriptor to poll for reading, or -1."""
        return self._fd

    def is_alive(self) -> bool:
        """Whether it lives. A process of another user counts as well."""
        if self._gone:
            return False
        if self._fd >= 0:
            poller = select.poll()
            poller.register(self._fd, select.POLLIN)
            self._gone = bool(poller.poll(0))
        else:
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                self._gone = True
            except OSError:
                return True
        return not self._gone

    def close(self) -> None:
        """Stop watching."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1
