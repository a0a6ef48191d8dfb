"""Messages that are too long for one request: libcpg sends them in parts, and each part waits for an answer."""

from __future__ import annotations

from rondo.protocol.codes import Code
from services.qb_gateway.wire import cpg

HELD_BYTES_MAX = 512 * 1024 * 1024
"""The bytes that all programs together may have here. Beyond that the first part of a new message gets TRY_AGAIN."""


class Held:
    """The bytes of incomplete messages of all programs."""

    def __init__(self) -> None:
        self.bytes = 0


class LongMessage:
    """The incomplete message of one program."""

    def __init__(self, held: Held, message_bytes_max: int) -> None:
        self._held = held
        self._bytes_max = message_bytes_max
        self._total = 0
        """Size of the message under way; 0 = there is none."""
        self._data = bytearray()
        """What has come. No list of parts: one of a byte, or of none, takes far more memory than its bytes."""

    def add(self, part: cpg.Part) -> tuple[int, bytes | None]:
        """Add a part. Returns the code of the answer, and the message if it is complete now."""
        if part.part == cpg.FIRST:
            self.drop()
            if part.total > self._bytes_max:
                return Code.TOO_BIG, None
            if self._held.bytes > HELD_BYTES_MAX:
                return Code.TRY_AGAIN, None
            self._total = part.total
        size = len(self._data) + len(part.data)
        is_last = part.part == cpg.LAST
        if not self._total or part.total != self._total or size > self._total or (is_last and size != self._total):
            self.drop()
            return Code.INVALID_PARAM, None
        self._data += part.data
        self._held.bytes += len(part.data)
        if not is_last:
            return Code.OK, None
        whole = bytes(self._data)
        self.drop()
        return Code.OK, whole

    def drop(self) -> None:
        """Drop the message under way."""
        self._held.bytes -= len(self._data)
        self._total = 0
        self._data = bytearray()
