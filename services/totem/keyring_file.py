"""Keeps the valid keys over restarts, besides the key file: `keyring` in the state directory.

A node that restarts in the middle of a key change must continue as before: with all keys installed, and the same one in
use. The keyring holds the keys, and the fingerprint of the key that the key file had when the keyring was written. If
the key file has another key now, somebody has replaced it since, and the new key is used. If that key is not among the
stored ones, the keyring is out of date and ignored: a key file is also replaced because an old key was stolen.

A thread writes the keyring. A disk can take seconds, and the token must not wait for it.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from rondo.config.key import KEY_BYTES_MAX, KeyFileError, fingerprint, read_private

_NAME = "keyring"
_FORMAT = 1
_BYTES_MAX = 16 * KEY_BYTES_MAX
_log = logging.getLogger("TOTEM")


@dataclass(slots=True, frozen=True)
class Keys:
    """The valid keys, in the order in which they were installed, and the one in use, which is among them."""

    valid: tuple[bytes, ...]
    in_use: bytes


def stored_keys(state_dir: Path, file_key: bytes) -> Keys:
    """The keys to start with; `file_key` is what the key file holds now."""
    only = Keys((file_key,), file_key)
    path = state_dir / _NAME
    try:
        stored = json.loads(read_private(path, _BYTES_MAX))
        valid = tuple(base64.b64decode(each, validate=True) for each in stored["keys"])
        by_name = {fingerprint(each): each for each in valid}
        in_use, of_file = by_name[stored["in_use"]], stored["key_file"]
        if stored["format"] != _FORMAT:
            raise ValueError("unknown format")
    except FileNotFoundError:
        return only
    except (OSError, KeyFileError) as error:
        _log.warning("The keyring %s is left aside (%s); only the key of the key file is valid", path, error)
        return only
    except (ValueError, KeyError, TypeError, binascii.Error):
        _log.warning("The keyring %s is damaged; only the key of the key file is valid", path)
        return only
    if of_file == fingerprint(file_key):
        return Keys(valid, in_use)
    if file_key in valid:
        return Keys(valid, file_key)
    _log.info("The key file has a new key, so the keyring %s is left aside", path)
    return only


class KeyStore:
    """Writes the keys when they change. `save` never waits; `unsaved` and `error` show its progress."""

    def __init__(self, state_dir: Path, file_key: bytes) -> None:
        self.path = state_dir / _NAME
        self.error = ""
        """Why the last attempt failed."""
        self._file_key = fingerprint(file_key)
        self._lock = threading.Lock()
        self._wanted: Keys | None = None
        self._writing = False

    @property
    def unsaved(self) -> bool:
        """Whether something is still to be written."""
        return self._writing

    def save(self, keys: Keys) -> None:
        """Start writing these keys."""
        with self._lock:
            self._wanted = keys
            if self._writing:
                return
            self._writing = True
        threading.Thread(target=self._run, name="keyring", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                keys, self._wanted = self._wanted, None
                if keys is None:
                    self._writing = False
                    return
            try:
                self._write(keys)
                self.error = ""
            except OSError as error:
                self.error = error.strerror or str(error)
                _log.error(
                    "The keys cannot be stored in %s: %s; after a restart they are not valid", self.path, self.error
                )

    def _write(self, keys: Keys) -> None:
        """The file is durable when this returns, and replaced whole or not at all. If only the key file's key is valid,
        the keyring is removed."""
        if keys.valid == (keys.in_use,) and fingerprint(keys.in_use) == self._file_key:
            self.path.unlink(missing_ok=True)
            self._sync_directory()
            return
        content = json.dumps(
            {
                "format": _FORMAT,
                "key_file": self._file_key,
                "in_use": fingerprint(keys.in_use),
                "keys": [base64.b64encode(each).decode() for each in keys.valid],
            }
        ).encode()
        temporary = self.path.with_name(f".{_NAME}.new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
            os.write(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(self.path)
        self._sync_directory()

    def _sync_directory(self) -> None:
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
