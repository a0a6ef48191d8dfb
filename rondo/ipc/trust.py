"""Check that a local socket belongs to the node before anything is sent to it.

Keys, environments and messages go to whoever has made the socket, so nobody else may have been able to make it. Three
things are checked. The directory belongs to root, to this user, or to the owner to whom it was entrusted by name. It is
not writable by others. The listening process belongs to that owner, to root, or to this user.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

from rondo.ipc.accepting import peer_of
from rondo.paths import PathError, check_directory


def check_server(stream: socket.socket, path: Path) -> None:
    """Check the server of a connected socket. Raises PathError if it does not belong to the owner of the directory of
    `path`."""
    _check_user(peer_of(stream)[1], path)


def check_socket(path: Path) -> None:
    """All these checks, for callers that let libzmq connect. Raises PathError. A socket that does not exist passes."""
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
        pass  # nobody listens, this user may not connect, or the server is busy: the file has the right owner
    finally:
        stream.close()


def _check_user(uid: int, path: Path) -> None:
    trusted = {0, os.geteuid()}
    with contextlib.suppress(OSError):
        found = path.parent.stat()
        if not found.st_mode & stat.S_IWOTH:
            trusted.add(found.st_uid)
    if uid not in trusted:
        raise PathError(f"{path}: user {uid} answers there, who does not own {path.parent}; nothing was sent")
