"""Whether what answers at a socket of this machine is the node, before a word is said to it.

Keys, environments and messages go to whoever has made the socket. So nobody else may have been able to: the directory
is root's, ours, or its owner's to whom it was entrusted by name, it is closed to others, and who listens there is that
owner, root, or this user itself.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from pathlib import Path

from rondo.paths import PathError, check_directory

_CREDENTIALS = struct.Struct("3i")


def check_server(stream: socket.socket, path: Path) -> None:
    """Raises PathError if who listens at this connected socket, which is at `path`, is not whom the directory is of."""
    _, uid, _ = _CREDENTIALS.unpack(stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    _check_user(uid, path)


def check_socket(path: Path) -> None:
    """All of this, for those who leave connecting to libzmq. Raises PathError; a socket that is not there is none."""
    check_directory(path.parent)
    try:
        _check_user(path.lstat().st_uid, path)
    except OSError:
        return
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        stream.connect(str(path))
        check_server(stream, path)
    except OSError:
        pass  # nobody listens, or it is closed to this user, or has no time: at least its file is the right one's
    finally:
        stream.close()


def _check_user(uid: int, path: Path) -> None:
    trusted = {0, os.geteuid()}
    with contextlib.suppress(OSError):
        found = path.parent.stat()
        if not found.st_mode & stat.S_IWOTH:
            trusted.add(found.st_uid)
    if uid not in trusted:
        raise PathError(f"{path}: user {uid} answers there, who does not own {path.parent}; nothing was said to him")
