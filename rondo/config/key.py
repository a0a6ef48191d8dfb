"""The key that all nodes share: making one, and its fingerprint, by which keys are compared without showing them."""

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

KEY_BYTES_MIN = 128
KEY_BYTES_MAX = 4096
KEY_BYTES_DEFAULT = 256
"""Corosync's sizes (corosync-keygen(8))."""

KEY_FILE_MODE = 0o400


def write_key(path: Path, size_bytes: int = KEY_BYTES_DEFAULT, *, overwrite: bool = False) -> bytes:
    """Write a new random key, whole or not at all, readable for the owner alone; returns it.

    Raises FileExistsError if there is a file and it is not to be overwritten, and other OSErrors as they come.
    """
    if not KEY_BYTES_MIN <= size_bytes <= KEY_BYTES_MAX:
        raise ValueError(f"a key has {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes, not {size_bytes}")
    key = secrets.token_bytes(size_bytes)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, KEY_FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(path)
        else:
            # Unlike a rename, a link never replaces a file that somebody else has made in the meantime.
            os.link(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
    return key


def fingerprint(key: bytes) -> str:
    """What tells two keys apart and tells nothing about them: 128 bits of a SHA-256, as eight groups of four digits."""
    digest = hashlib.sha256(b"rondo key fingerprint\0" + key).hexdigest()
    return ":".join(digest[start : start + 4] for start in range(0, 32, 4))
