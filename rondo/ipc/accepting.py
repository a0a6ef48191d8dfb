"""What all who accept connections on a Unix socket need: who is there, and what to do when descriptors are used up."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from typing import Final

_CREDENTIALS: Final = struct.Struct("iII")
"""Users and groups are unsigned: those above 2^31 are as good as others."""


def peer_of(stream: socket.socket) -> tuple[int, int, int]:
    """Process, user and group at the other end, as the kernel recorded them at connect (unix(7), SO_PEERCRED). Raises
    OSError."""
    found = stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(found)
    return pid, uid, gid


class SpareDescriptor:
    """A descriptor that is kept for the moment when there are no more. Without it a listener at which somebody waits
    stays readable, and its process spins."""

    def __init__(self) -> None:
        """Raises OSError if there is none now."""
        self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def turn_away(self, listener: socket.socket, error: OSError) -> bool:
        """`listener.accept()` has raised this error. If no descriptors are left, accept one connection and close it.
        True if that was so."""
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            return False
        self.close()
        with contextlib.suppress(OSError):
            listener.accept()[0].close()
        with contextlib.suppress(OSError):
            # Another thread may have taken the descriptor first, or another process if the whole system has none left.
            self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        return True

    def close(self) -> None:
        """Give it up."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
