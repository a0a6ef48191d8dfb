"""What all sockets between processes have in common: their endpoints, their bounds, and the error of one that cannot be
made."""

from __future__ import annotations

import contextlib
import stat
from pathlib import Path

HIGH_WATER_MARK = 64
"""Envelopes (of about 256 KiB) that wait at most in each direction of a connection."""

ENVELOPE_BYTES_MAX = 256 * 1024 * 1024
"""Longer envelopes end the connection: the largest item is a message of cpg.message_size_max, with room to spare."""


class SocketError(OSError):
    """A socket that cannot be made; the text says which and why, in one line."""


def ipc_path(endpoint: str) -> Path | None:
    """The path of an `ipc://` endpoint in the file system; None for any other kind."""
    return Path(endpoint[6:]) if endpoint.startswith("ipc://") and not endpoint.startswith("ipc://@") else None


def remove_stale(endpoint: str) -> None:
    """Remove the socket file that a killed predecessor left (whoever calls holds the lock of the run directory)."""
    path = ipc_path(endpoint)
    if path is not None:
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(path.lstat().st_mode):
                path.unlink()
