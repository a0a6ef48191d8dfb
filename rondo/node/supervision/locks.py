"""One node per run directory and per state directory: locks that supervisord holds as long as it lives.

`rondo start` takes them and passes them on as open descriptors, so there is no moment in which a second start could
take them. The kernel drops them with the process, however it ends. supervisord's children do not inherit them.
"""

import contextlib
import fcntl
import os
from pathlib import Path

from rondo.cli.output import CommandError

FILE_NAME = "node.lock"


def take(directory: Path, option: str) -> int:
    """Lock the directory; returns the descriptor. Raises CommandError, naming the holder, if a node has it."""
    path = directory / FILE_NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}; choose another directory with {option}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        who = f" (process {holder})" if holder.isdigit() else ""
        raise CommandError(
            f"{directory}: a node runs here already{who}; stop it with `rondo stop`, or choose another directory "
            f"with {option}"
        ) from None
    return descriptor


def write_holder(descriptor: int, pid: int) -> None:
    """Write the holder into the lock file, for the error message of the next start."""
    with contextlib.suppress(OSError):  # a full disk
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{pid}\n".encode(), 0)
