"""A FIFO beside a server's socket: whoever waits for the server holds it open for reading, and is woken by each start.

It is for those whom the kernel does not tell of a new socket otherwise: a user has few inotify instances (128 is
usual), but any number of processes may wait at one FIFO. Nothing is ever written to it. A server that starts opens it
for writing and closes it again; who had it open then gets POLLHUP, once and for good, and opens it anew to wait again.
"""

import contextlib
import os
import stat
from pathlib import Path

MODE = 0o644
"""Whoever can enter the directory may wait; only the owner rings."""


def bell_of(socket_path: Path) -> Path:
    """Where the bell of a server is: `gateway.bell` beside `gateway.sock`."""
    return socket_path.with_suffix(".bell")


def wait_at(bell: Path) -> int | None:
    """A descriptor that hangs up at the next ring; None if there is no such bell. It is for the caller to close."""
    try:
        descriptor = os.open(bell, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def ring(bell: Path) -> None:
    """Wake all who wait. To be called once the socket is there. If there can be no bell, those who wait look themselves
    now and then."""
    with contextlib.suppress(OSError):  # it is there already, or cannot be
        os.mkfifo(bell, 0o600)
        bell.chmod(MODE)
    with contextlib.suppress(OSError):  # ENXIO: nobody waits
        os.close(os.open(bell, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW))
