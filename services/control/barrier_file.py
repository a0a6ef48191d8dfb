"""The file `ev_tracking`: the highest expected votes ever seen (expected_votes_tracking), for the next start."""

from __future__ import annotations

import os
import struct
from pathlib import Path

NAME = "ev_tracking"
_U32 = struct.Struct("<I")


class BarrierFile:
    """One number on disk."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / NAME

    def read(self) -> int:
        """The stored number; 0 = none, or an invalid file."""
        try:
            data = self._path.read_bytes()
        except OSError:
            return 0
        return int(_U32.unpack(data)[0]) if len(data) == _U32.size else 0

    def store(self, barrier: int) -> None:
        """Store the number; the file is replaced whole or not at all. Raises OSError."""
        temporary = self._path.with_name(f".{NAME}.{os.getpid()}")
        with temporary.open("wb") as file:
            file.write(_U32.pack(barrier))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
