"""When the node has to leave the ring because cpg, or control, does not take the log.

Ordered messages are kept until cpg has acknowledged them, so a cpg that is killed loses nothing. But cpg may stop
reading for long, because it is stopped or hangs. Then totem must neither grow without a bound nor slow down the ring of
all others. So the ring is not slowed for a cpg that does not read at all. When the log has reached its bound the node
leaves the ring: the ring process ends, is started again, and is a member without a cpg. The node's applications are
told `Disconnected`, as when the ring process is killed, and join their groups again once cpg works.

Control's part of the log has a bound of its own, and groups put nothing into it. A control that hangs is started again
long before it is reached, so the node leaves as soon as it is.
"""

from __future__ import annotations

from typing import Protocol

READS_NS = 200_000_000
"""A cpg that has read nothing for so long counts as not reading."""

SILENT_NS_MAX = 1_000_000_000
"""With a full log, how long a running cpg may read nothing of what it is sent."""

PATIENT_NS_MAX = 7_000_000_000
"""How long cpg may make no progress while it is being started again, or while it has read everything. After its start
it acknowledges nothing for up to five seconds, and it takes two seconds to cut off a client that holds it up."""

OVERFULL = 2.0
"""With so many times the bound in the log the node leaves at once."""


class Log(Protocol):
    """The part of `OrderedLog` that is used here."""

    bytes_max: int
    head: int

    @property
    def sent(self) -> int: ...

    @property
    def acked(self) -> int: ...

    @property
    def pressure(self) -> float: ...


class Reader(Protocol):
    """The part of `Bus` that is used here."""

    has_cpg: bool

    @property
    def waiting(self) -> int: ...

    @property
    def taken(self) -> int: ...


class FullLogError(Exception):
    """The node has to leave the ring; the text is the log line."""


class FullLog:
    """Watches how full the log is and whether cpg takes anything."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._progress = (-1, -1)
        self._since_ns: int | None = None
        """Since when cpg has neither read nor acknowledged anything."""

    def check(self, reader: Reader, now_ns: int) -> bool:
        """Call this while the log is filling. True: cpg reads, so a slower ring helps. Raises `FullLogError`."""
        log = self._log
        has_cpg, pressure, progress = reader.has_cpg, log.pressure, (reader.taken, log.acked)
        if self._since_ns is None or progress != self._progress:
            self._since_ns, self._progress = now_ns, progress
        silent_ns = now_ns - self._since_ns
        has_all = log.sent == log.head and not reader.waiting
        if pressure < 1.0:
            return has_cpg and (has_all or silent_ns < READS_NS)
        if silent_ns >= (SILENT_NS_MAX if has_cpg and not has_all else PATIENT_NS_MAX):
            who = "cpg takes nothing any more" if has_cpg else "cpg has not come back"
        elif pressure >= OVERFULL:
            who = "cpg does not keep up"
        else:
            return True
        raise FullLogError(
            f"{who}, and what waits for it has reached system.log_bytes_max ({log.bytes_max} bytes). "
            "This node leaves the ring, so as not to hold up the others, and comes back when cpg does its work"
        )


def check_control(pressure: float, bytes_max: int) -> None:
    """Call this once a turn. `pressure`: of control's log, whose bound is `bytes_max`. Raises `FullLogError`."""
    if pressure >= 1.0:
        raise FullLogError(
            f"control takes nothing any more, and what waits for it has reached its bound ({bytes_max} bytes). "
            "This node leaves the ring, so as not to hold up the others, and comes back when control does its work"
        )
