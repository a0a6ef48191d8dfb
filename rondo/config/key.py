"""The key that all nodes share: making and reading it, and its fingerprint, which compares keys without showing
them."""

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from pathlib import Path

KEY_BYTES_MIN = 128
KEY_BYTES_MAX = 4096
KEY_BYTES_DEFAULT = 256
"""Corosync's sizes (corosync-keygen(8))."""

KEY_FILE_MODE = 0o400


def write_key(path: Path, size_bytes: int = KEY_BYTES_DEFAULT, *, overwrite: bool = False) -> bytes:
    """Write a new random key, as a whole or not at all, readable only for the owner. Returns the key.

    Raises FileExistsError if the file exists and must not be overwritten, and other OSErrors.
    """
    if not KEY_BYTES_MIN <= size_bytes <= KEY_BYTES_MAX:
        raise ValueError(f"a key has {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes, not {size_bytes}")
    key = secrets.token_bytes(size_bytes)
    write_private(path, key, overwrite=overwrite)
    return key


def write_private(path: Path, content: bytes, *, overwrite: bool = False) -> None:
    """Write a file, as a whole or not at all, that only its owner can read. Raises as `write_key` does."""
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, KEY_FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(path)
        else:
            # Unlike a rename, a link never replaces a file that another process has made meanwhile.
            os.link(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


class KeyFileError(ValueError):
    """A key file that cannot be used. `why` is the reason, `mend` the remedy."""

    def __init__(self, path: Path, why: str, mend: str) -> None:
        super().__init__(f"{path}: {why}; {mend}")
        self.path = path
        self.why = why
        self.mend = mend


def read_key(path: Path) -> bytes:
    """The key in `path`, a regular file that nobody else can read or change. Raises KeyFileError.

    Root or the calling user owns it, and only the owner may read it. One exception: if root owns it and another user
    calls, its group may read it, because otherwise that user could not.
    """
    copy = f"make a key with: rondo keygen --key-file {path} - or copy that of the other nodes"
    try:
        key = read_private(path, KEY_BYTES_MAX + 1)
    except FileNotFoundError:
        raise KeyFileError(path, "there is no key", copy) from None
    except OSError as error:
        raise KeyFileError(path, f"the key cannot be read: {error.strerror}", "see its owner and mode") from None
    if not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
        held = f"{len(key)} bytes" if len(key) <= KEY_BYTES_MAX else f"more than {KEY_BYTES_MAX} bytes"
        raise KeyFileError(path, f"a key has {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes, this file {held}", copy)
    return key


def read_private(path: Path, size_max: int) -> bytes:
    """The first `size_max` bytes of a file that holds secrets. Raises KeyFileError if others have access; OSError."""
    # Without O_NONBLOCK, opening a FIFO would block until it has a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_key_file(path, os.fstat(descriptor))
        return os.read(descriptor, size_max)
    finally:
        os.close(descriptor)


def _check_key_file(path: Path, found: os.stat_result) -> None:
    """Raises KeyFileError unless owner and mode keep the key secret."""
    if not stat.S_ISREG(found.st_mode):
        raise KeyFileError(path, "the key is not a regular file", "name a regular file as keyfile")
    user = os.geteuid()
    if found.st_uid not in (0, user):
        raise KeyFileError(
            path, f"the key belongs to user {found.st_uid}, who is neither root nor the user of this process ({user})",
            f"chown {user} {path}",
        )  # fmt: skip
    allowed = 0o740 if found.st_uid == 0 and user != 0 else 0o700
    if stat.S_IMODE(found.st_mode) & ~allowed & 0o777:
        mode = stat.S_IMODE(found.st_mode)
        raise KeyFileError(path, f"others have access to the key (mode {mode:04o})", f"chmod 400 {path}")


def fingerprint(key: bytes) -> str:
    """A text that tells keys apart and reveals nothing about them: 128 bits of a SHA-256, as eight groups of four
    digits."""
    digest = hashlib.sha256(b"rondo key fingerprint\0" + key).hexdigest()
    return ":".join(digest[start : start + 4] for start in range(0, 32, 4))
