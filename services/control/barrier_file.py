"""The file `ev_tracking`: the highest expected votes ever seen (expected_votes_tracking), for the next start."""

from __future__ import annotations

import struct
from pathlib import Path

from rondo.node.durable_file import replace_durably

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
        """Store it, whole or not at all. Raises OSError."""
        replace_durably(self._path, _U32.pack(barrier))
