"""From which position, and with which snapshot, a restarted cpg can go on: what may be acknowledged to totem.

A snapshot that was taken at position p is good for every position from p until the state changes next. Sessions
acknowledge at different times, so a snapshot waits here until all of them have come that far.
"""

from __future__ import annotations

from dataclasses import dataclass

SNAPSHOTS_MAX = 64
"""When one session lags and groups change all the time, every other snapshot is dropped: that costs log, not truth."""


@dataclass(slots=True)
class _Snapshot:
    position: int
    until: int | None
    """Last position that it is good for; None = the state has not changed yet."""
    data: bytes | None
    """None: totem has it."""


class Checkpoints:
    """Snapshots that are not acknowledged yet."""

    def __init__(self, position: int) -> None:
        """`position`: of the snapshot that totem has."""
        self.snapshots = [_Snapshot(position, None, None)]

    def changed(self, n: int) -> None:
        """The state changed at position n for the first time since the last snapshot."""
        if self.snapshots[-1].until is None:
            self.snapshots[-1].until = n - 1

    def add(self, position: int, data: bytes) -> None:
        """A snapshot of the state at `position`, after `changed`."""
        self.snapshots.append(_Snapshot(position, None, data))
        if len(self.snapshots) > SNAPSHOTS_MAX:
            # The first is totem's, the last is open.
            self.snapshots[1:-1] = self.snapshots[1:-1:2]

    def best(self, floor: int) -> int:
        """The highest position up to `floor` that can be acknowledged."""
        snapshot = self.snapshots[self._index(floor)]
        return max(snapshot.position, min(floor, snapshot.until if snapshot.until is not None else floor))

    def take(self, floor: int) -> bytes | None:
        """The snapshot that goes with `best(floor)`; None if totem has it. It counts as totem's from now on."""
        index = self._index(floor)
        del self.snapshots[:index]
        data, self.snapshots[0].data = self.snapshots[0].data, None
        return data

    def _index(self, floor: int) -> int:
        """Of the newest snapshot at or before `floor`; the first if there is none."""
        for index in range(len(self.snapshots) - 1, 0, -1):
            if self.snapshots[index].position <= floor:
                return index
        return 0
