"""What programs track, and how the statistics among it are followed: by samples that control takes now and then.

Changes of the usual keys are told by control. Statistics are compared here, with what a program was told last. One that
does not read its events is passed over, and compared again once it has: what waits for it does not grow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from os.path import commonprefix
from typing import Any

from rondo.node.control_link import ControlLink
from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Keys, Op, changes_between
from services.qb_gateway.connection import Connection
from services.qb_gateway.wire import cmap

ICMAP, STATS = "icmap", "stats"


@dataclass(slots=True)
class Track:
    """A key, or all keys below a prefix."""

    name: str
    kinds: int
    client_handle: int

    def covers(self, key: str) -> bool:
        """Whether it is about this key."""
        return key.startswith(self.name) if self.kinds & cmap.PREFIX else key == self.name

    def concerns(self, key: str, kind: int) -> bool:
        """Whether a change of this kind is told."""
        return bool(self.kinds & kind) and self.covers(key)


Tracks = dict[int, Track]
"""By the handle that the program has."""


def events_of(tracks: Tracks, changes: list[dict[str, Any]]) -> list[bytes]:
    """What a program with these tracks is told."""
    return [
        cmap.change_event(track.client_handle, change["key"], change["new"], change["old"])
        for change in changes
        for track in tracks.values()
        if track.concerns(change["key"], cmap.kind_of_change(change["new"], change["old"]))
    ]


@dataclass(slots=True)
class _Tracker:
    connection: Connection
    tracks: Tracks
    known: Keys = field(default_factory=dict)
    """What it was told last, of the keys that it tracks."""

    def covers(self, key: str) -> bool:
        return any(track.covers(key) for track in self.tracks.values())


class StatisticsTracker:
    """All programs that track statistics."""

    def __init__(self, control: ControlLink) -> None:
        self._control = control
        self._trackers: dict[Connection, _Tracker] = {}
        self._is_sampling = False

    def begin(self, connection: Connection, tracks: Tracks, track: Track, done: Callable[[int], None]) -> None:
        """Follow one more track; `done` is called with a code once that is so, and has to put it among `tracks`, which
        are the program's. What happens from then on is told; of a prefix, as Corosync has it, which keys come and go,
        and not their values."""
        if track.kinds & cmap.PREFIX:
            track.kinds &= ~cmap.CHANGED

        def answered(code: int, found: Any) -> None:
            if code == Code.OK:
                tracker = self._trackers.setdefault(connection, _Tracker(connection, tracks))
                for key, *value in found:
                    if track.covers(key):
                        tracker.known.setdefault(key, value)
            done(code)
            self._sample()

        self._control.ask(Op.KEYS, {"map": STATS, "prefix": track.name}, answered, connection.whose)

    def closed(self, connection: Connection) -> None:
        """This program is gone."""
        self._trackers.pop(connection, None)

    def _sample(self) -> None:
        """Ask for the next sample, as long as somebody tracks."""
        for tracker in [each for each in self._trackers.values() if not each.tracks]:
            del self._trackers[tracker.connection]
        if self._is_sampling or not self._trackers:
            return
        names = [track.name for each in self._trackers.values() for track in each.tracks.values()]
        prefix = commonprefix(names)  # noqa: RUF071 - of texts, and not of paths
        self._is_sampling = True
        self._control.ask(Op.SAMPLE, {"prefix": prefix}, lambda code, found: self._sampled(prefix, code, found))

    def _sampled(self, prefix: str, code: int, found: Any) -> None:
        self._is_sampling = False
        if code == Code.OK:
            for tracker in self._trackers.values():
                if not tracker.connection.is_blocked:
                    self._compare(tracker, prefix, found)
        self._sample()

    def _compare(self, tracker: _Tracker, prefix: str, found: list[list[Any]]) -> None:
        """Tell one program. What it tracks since the sample was asked for may not be in it."""
        known = {key: value for key, value in tracker.known.items() if tracker.covers(key)}
        now = {key: value for key, value in known.items() if not key.startswith(prefix)}
        now |= {key: value for key, *value in found if tracker.covers(key)}
        if events := events_of(tracker.tracks, changes_between(known, now)):
            tracker.connection.post(events)
        tracker.known = now
