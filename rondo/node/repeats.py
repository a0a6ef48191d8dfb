"""Lines that say the same again and again are joined: the first is written at once, and how many followed it later."""

from __future__ import annotations

import logging

JOINED_S = 10.0
"""How long after the first one others like it are only counted. Times are of CLOCK_MONOTONIC, in seconds."""


class Repeats:
    """Of one log."""

    def __init__(self) -> None:
        self._key: tuple[str, int, str] | None = None
        self._until_s = 0.0
        self._last: logging.LogRecord | None = None
        self._count = 0

    def put(self, record: logging.LogRecord, now_s: float) -> list[logging.LogRecord]:
        """What is to be written now that this line has come."""
        key = record.name, record.levelno, record.getMessage()
        if key == self._key and now_s < self._until_s:
            self._count += 1
            self._last = record
            return []
        joined = self.flush()
        self._key, self._until_s = key, now_s + JOINED_S
        return [*joined, record]

    @property
    def due_s(self) -> float | None:
        """When to call `flush` at the latest; None: nothing waits."""
        return self._until_s if self._count else None

    def flush(self) -> list[logging.LogRecord]:
        """The line for those that were only counted, if there are some. The next one like them is written again."""
        last, count = self._last, self._count
        self._key, self._last, self._count = None, None, 0
        if last is None:
            return []
        told = logging.makeLogRecord(last.__dict__)
        told.msg, told.args = f"{last.getMessage()} ({count} such lines more)", None
        return [told]
