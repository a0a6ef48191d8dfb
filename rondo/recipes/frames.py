"""Files of frames: payloads with length, number and checksums, so that damage is always found.

A frame is a header and a payload. The header has a checksum of its own, so its length can be trusted. This separates an
incomplete end from changed bytes:

- A file is *torn* if it ends within a header or a payload, or if only zeros follow. Nothing in a torn frame was ever
  acknowledged, because a write is acknowledged after all of it is on disk.
- A file is *damaged* if a checksum is wrong, or a number is not the next one. Then nothing of it is used.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Self

from rondo.recipes.errors import StoreError

HEADER = struct.Struct("<IIQ")
"""Length and checksum of the payload, number of the frame in the file."""
CHECKSUM = struct.Struct("<I")
HEADER_BYTES = HEADER.size + CHECKSUM.size
LENGTH_MAX = 2**32 - 1


class FrameReader:
    """Reads the frames of a file in order."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises OSError."""
        self.path = path
        self._file = path.open("rb")
        self.size = os.fstat(self._file.fileno()).st_size
        self.at = 0
        """The offset of the end of the last whole frame, in bytes."""
        self.number = 0
        """The number of the next frame."""
        self.is_torn = False

    def next(self, mend: str) -> bytes | None:
        """The next payload; None at the end, whole or torn. Raises StoreError, with the remedy `mend`, for damage."""
        head = self._file.read(HEADER_BYTES)
        if len(head) < HEADER_BYTES:
            self.is_torn = bool(head)
            return None
        length, checksum, number = HEADER.unpack_from(head)
        if CHECKSUM.unpack_from(head, HEADER.size)[0] != zlib.crc32(head[: HEADER.size]):
            if not any(head) and self._is_rest_zero():
                self.is_torn = True
                return None
            raise self._damaged("the header of a frame is not as it was written", mend)
        if number != self.number:
            raise self._damaged(f"frame {self.number} is missing", mend)
        payload = self._file.read(length)
        if len(payload) < length:
            self.is_torn = True
            return None
        if zlib.crc32(payload) != checksum:
            raise self._damaged("a frame is not as it was written", mend)
        self.at += HEADER_BYTES + length
        self.number += 1
        return payload

    def whole(self, mend: str) -> bytes:
        """The only payload of the file. Raises StoreError with the remedy `mend` if there is none."""
        payload = self.next(mend)
        if payload is None:
            raise self._damaged("it is not whole", mend)
        return payload

    def _is_rest_zero(self) -> bool:
        while data := self._file.read(1 << 20):
            if any(data):
                return False
        return True

    def _damaged(self, what: str, mend: str) -> StoreError:
        return StoreError(f"{self.path}: damaged at byte {self.at}: {what}. {mend}")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FrameWriter:
    """Collects frames, and writes them to the end of a file with `flush`."""

    def __init__(self, path: Path, *, at: int = 0, number: int = 0) -> None:
        """Cut the file off at byte `at`, and go on there with frame `number`. Raises OSError."""
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._fd, at)
        os.lseek(self._fd, at, os.SEEK_SET)
        self.size = at
        self._number = number
        self._waiting: list[bytes] = []

    def add(self, payload: bytes) -> int:
        """Add a frame. Returns its size in bytes. Raises StoreError if the payload is too large."""
        if len(payload) > LENGTH_MAX:
            raise StoreError(f"{self.path}: a piece of {len(payload)} bytes is too large: {LENGTH_MAX} at most")
        head = HEADER.pack(len(payload), zlib.crc32(payload), self._number)
        self._number += 1
        self._waiting += [head, CHECKSUM.pack(zlib.crc32(head)), payload]
        self.size += HEADER_BYTES + len(payload)
        return HEADER_BYTES + len(payload)

    def flush(self, *, fsync: bool) -> None:
        """Write all frames, with `fsync` through to the disk. Raises OSError."""
        if not self._waiting:
            return
        data = memoryview(b"".join(self._waiting))
        self._waiting.clear()
        while data:
            data = data[os.write(self._fd, data) :]
        if fsync:
            os.fdatasync(self._fd)

    @property
    def is_removed(self) -> bool:
        """True if the file has been removed from its directory."""
        return os.fstat(self._fd).st_nlink == 0

    def close(self) -> None:
        """Close the file. Frames that were not flushed are lost."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
