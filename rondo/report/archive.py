"""The archive: a compressed tar file that only its owner can read."""

from __future__ import annotations

import errno
import io
import os
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from rondo.report.contents import Entry

MODE = 0o600


def write(path: Path, entries: Iterable[Entry]) -> list[str]:
    """Write the archive, whole or not at all; returns the names in it. Raises FileExistsError, OSError."""
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            names = write_to(file, path.name.partition(".")[0], entries)
        os.link(temporary, path)  # unlike a rename it never replaces what somebody else has made
    finally:
        temporary.unlink(missing_ok=True)
    return names


def write_to(file: IO[bytes], top: str, entries: Iterable[Entry]) -> list[str]:
    """Write the archive to a file or a pipe. `top`: the directory in it that has all files. Raises OSError."""
    names: list[str] = []
    now = int(time.time())
    with tarfile.open(fileobj=file, mode="w|gz") as archive:
        for name, data in entries:
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size, member.mtime, member.mode = len(data), now, MODE
            archive.addfile(member, io.BytesIO(data))
            names.append(name)
    return names
