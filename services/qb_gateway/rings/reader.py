"""The reading end of a ring."""

from __future__ import annotations

from services.qb_gateway.rings.layout import COMPLETE, CONSUMED, READ_AT, RingError, Semaphore


class Reader:
    """Takes chunks. Each is copied before anything in it is read."""

    def __init__(
        self, header: memoryview[int], data: memoryview[int], semaphore: Semaphore, length_min: int, length_max: int
    ) -> None:
        """`header` in words, `data` in bytes. `length_min` and `length_max` bound a chunk, in bytes."""
        self._header = header
        self._data = data
        self._words = data.cast("I")
        self._count = len(self._words)
        self._bytes = len(data)
        self._semaphore = semaphore
        self._length_min, self._length_max = length_min, length_max
        self._at = 0

    def take(self) -> bytes | None:
        """The next chunk, or None if there is none yet. Raises `RingError`."""
        if not self._semaphore.take():
            return None
        words, count, at = self._words, self._count, self._at
        mark_at = at + 1 if at + 1 < count else 0
        if words[mark_at] != COMPLETE:
            raise RingError(f"a chunk is announced where the mark is {words[mark_at]:#x}")
        length = words[at]
        if not self._length_min <= length <= self._length_max:
            raise RingError(f"a chunk of {length} bytes")
        start = mark_at + 1 if mark_at + 1 < count else 0
        first, end = start * 4, start * 4 + length
        if end <= self._bytes:
            chunk = self._data[first:end].tobytes()
        else:
            chunk = self._data[first:].tobytes() + self._data[: end - self._bytes].tobytes()
        words[at] = 0
        words[mark_at] = CONSUMED
        self._at = at = (start + (length + 3) // 4) % count
        self._header[READ_AT] = at
        return chunk

    def release(self) -> None:
        """Release the memory views."""
        for view in (self._words, self._data, self._header):
            view.release()
