"""Common to all sockets between processes: their endpoints, their bounds, and the error for a socket that cannot be
made."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

HIGH_WATER_MARK = 64
"""How many envelopes (of about 256 KiB) may wait in each direction of a connection."""

ENVELOPE_BYTES_MAX = 256 * 1024 * 1024
"""A longer envelope ends the connection. The largest item is a message of cpg.message_size_max, with room to spare."""

PATH_BYTES_MAX = 107
"""The longest path of a Unix socket (unix(7))."""


class SocketError(OSError):
    """A socket that cannot be made. The text names the socket and the reason, in one line."""


def ipc_path(endpoint: str) -> Path | None:
    """The file system path of an `ipc://` endpoint; None for any other endpoint."""
    return Path(endpoint[6:]) if endpoint.startswith("ipc://") and not endpoint.startswith("ipc://@") else None


def remove_stale(endpoint: str) -> None:
    """Remove the socket file that a killed predecessor left. The caller holds the lock of the run directory."""
    path = ipc_path(endpoint)
    if path is not None:
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(path.lstat().st_mode):
                path.unlink()


def local_path(endpoint: str) -> Path:
    """The path of a local endpoint. Raises `SocketError` for any other."""
    path = ipc_path(endpoint)
    if path is None or not path.name:
        raise SocketError(f"{endpoint}: not a local endpoint such as ipc:///run/rondo/gateway.sock")
    if len(os.fsencode(path)) > PATH_BYTES_MAX:
        raise SocketError(
            f"{endpoint}: the path has more than {PATH_BYTES_MAX} bytes; an endpoint looks like "
            "ipc:///run/rondo/gateway.sock"
        )
    return path
