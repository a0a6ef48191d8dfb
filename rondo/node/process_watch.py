"""Identify another process, and learn at once when it dies."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from pathlib import Path

SO_PEERPIDFD = 77
"""Option of a Unix socket: a pidfd of the connecting process, Linux 6.5 (asm-generic/socket.h)."""
GONE = -1
"""The start time of a process that ended before it could be read."""


def start_time_of(pid: int) -> int:
    """When a process started, in clock ticks since boot (field 22 of /proc/PID/stat); 0 if unknown.

    Pid and start time together identify a process for good. The pid alone is reused.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        # The name of the program is in parentheses and may contain anything, parentheses included.
        return int(stat[stat.rindex(b")") + 2 :].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def start_time_of_peer(stream: socket.socket, pid: int) -> int:
    """The start time of the process that has connected this Unix socket; the kernel reports `pid` as its process id.

    The process may have passed the socket on and ended, and its pid may have been reused. GONE if it has ended, as far
    as the kernel can tell; before Linux 6.5 the result is that of the process with this pid now. 0 if it is in another
    pid namespace.
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
    """The life of one process. `fileno` becomes readable when it dies, if the kernel supports that (pidfd, Linux 5.3).
    Otherwise `fileno` is -1, and `is_alive` has to be called from time to time."""

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
        """True if it lives; works for a process of another user, too."""
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
