"""Joins repeated log lines: the first is written at once, and the number of those that followed is written later."""

from __future__ import annotations

import logging

JOINED_S = 10.0
"""For this time after a line, similar ones are only counted. Times are of CLOCK_MONOTONIC, in seconds."""


class Repeats:
    """The repeated lines of one log."""

    def __init__(self) -> None:
        self._key: tuple[str, int, str] | None = None
        self._until_s = 0.0
        self._last: logging.LogRecord | None = None
        self._count = 0

    def put(self, record: logging.LogRecord, now_s: float) -> list[logging.LogRecord]:
        """The lines to write now that this line has come."""
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
        """The time by which `flush` has to be called; None: nothing waits."""
        return self._until_s if self._count else None

    def flush(self) -> list[logging.LogRecord]:
        """The line that reports the counted repeats, if there are any. The next similar line is written again."""
        last, count = self._last, self._count
        self._key, self._last, self._count = None, None, 0
        if last is None:
            return []
        told = logging.makeLogRecord(last.__dict__)
        told.msg, told.args = f"{last.getMessage()} ({count} such lines more)", None
        return [told]
