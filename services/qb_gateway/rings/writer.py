"""The writing end of a ring."""

from __future__ import annotations

import struct
from collections import deque

from services.qb_gateway.rings.layout import CHUNK_OVERHEAD_BYTES, COMPLETE, READ_AT, WRITE_AT, RingError, Semaphore

_CHUNK_HEAD = struct.Struct("=II")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class Writer:
    """Writes as many chunks at a time as there is room for."""

    def __init__(self, header: memoryview[int], data: memoryview[int], semaphore: Semaphore) -> None:
        """`header` in words, `data` in bytes."""
        self._header = header
        self._data = data
        self._bytes = len(data)
        self._count = len(data) // 4
        self._semaphore = semaphore
        self._at = 0

    def write(self, queue: deque[bytes]) -> int:
        """Write as many items from the front of `queue` as have room, and remove them. Returns their number. Raises
        `RingError`.

        The reader reads no chunk before the semaphore announces it. So all chunks are copied first, and announced
        together afterwards.
        """
        free = self._free_words()
        parts: list[bytes] = []
        written = words = 0
        while queue:
            chunk = queue[0]
            length = len(chunk)
            if 4 * (free - words) < length + CHUNK_OVERHEAD_BYTES:
                break
            parts += (_CHUNK_HEAD.pack(length, COMPLETE), chunk, _PADDING[length & 3])
            words += 2 + (length + 3) // 4
            if not written and free == self._count:
                free -= 1  # once there is a chunk, a full ring must not look empty
            queue.popleft()
            written += 1
        if written:
            self._copy(b"".join(parts))
            self._at = (self._at + words) % self._count
            self._header[WRITE_AT] = self._at
            self._semaphore.post(written)
        return written

    def _free_words(self) -> int:
        read = self._header[READ_AT]
        if read >= self._count:
            raise RingError(f"read index {read} of {self._count}")
        if read == self._at:
            return self._count if self._semaphore.is_zero() else 0
        return (read - self._at - 1) % self._count

    def _copy(self, content: bytes) -> None:
        start = self._at * 4
        end = start + len(content)
        if end <= self._bytes:
            self._data[start:end] = content
        else:
            room = self._bytes - start
            self._data[start:] = content[:room]
            self._data[: end - self._bytes] = content[room:]

    def release(self) -> None:
        """Release the memory views."""
        for view in (self._data, self._header):
            view.release()
