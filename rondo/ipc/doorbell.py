"""A FIFO beside a server's socket. Clients that wait for the server hold it open for reading; each start wakes them.

It is for clients that cannot use inotify: a user has few inotify instances (128 is usual), but any number of processes
may wait at one FIFO. Nothing is ever written to it. A server that starts opens it for writing and closes it again. Each
reader then gets POLLHUP, which lasts, so it reopens the FIFO to wait again.
"""

import contextlib
import os
import stat
from pathlib import Path

MODE = 0o644
"""Every user that can enter the directory may wait; only the owner may ring."""


def bell_of(socket_path: Path) -> Path:
    """The path of a server's bell: `gateway.bell` beside `gateway.sock`."""
    return socket_path.with_suffix(".bell")


def wait_at(bell: Path) -> int | None:
    """A descriptor that hangs up at the next ring; None if there is no such bell. The caller closes it."""
    try:
        descriptor = os.open(bell, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def ring(bell: Path) -> None:
    """Wake all that wait. Call it once the socket exists. If the FIFO cannot be made, waiting clients look for the
    socket themselves from time to time."""
    with contextlib.suppress(OSError):  # the FIFO exists already, or cannot be made
        os.mkfifo(bell, 0o600)
        bell.chmod(MODE)
    with contextlib.suppress(OSError):  # ENXIO: nobody waits
        os.close(os.open(bell, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW))
