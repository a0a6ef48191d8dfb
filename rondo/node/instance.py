"""One instance of a service per directory, by a file lock. The kernel drops the lock with the process."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


class InstanceError(Exception):
    """The directory is in use, or cannot be used. The text names the holder and the remedy, in one line."""


class InstanceLock:
    """An exclusive lock on `DIRECTORY/SERVICE.lock`, held until the process ends. Raises `InstanceError`."""

    def __init__(self, directory: Path, service: str, option: str = "--run-dir") -> None:
        path = directory / f"{service}.lock"
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise InstanceError(f"{path}: {error.strerror}; choose another directory ({option})") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip()
            os.close(self._descriptor)
            who = f" as process {holder}" if holder.isdigit() else ""
            raise InstanceError(
                f"{path}: {service} runs already{who}; stop it, or choose another directory ({option})"
            ) from None
        with contextlib.suppress(OSError):  # the lock holds even if a full disk keeps it from naming its holder
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Release the directory. The file stays: removing it would open a race with the next holder."""
        os.close(self._descriptor)
