"""What all sockets that clients connect to have in common: what comes out of them, and what they can be asked."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

SEND_ENVELOPES_MAX = 1024
"""Envelopes that wait for one client of this machine; their bytes are bounded besides."""
ENVELOPE_ROOM_BYTES = 1024 * 1024
"""How much larger an envelope may be than the largest message."""
ENVELOPES_PER_DRAIN = 64
MODE_PRIVATE = 0o600
MODE_OPEN = 0o666


class Received(NamedTuple):
    """An envelope of a client."""

    connection: bytes
    """Its name: unique as long as this process lives."""
    stamp: str
    """Who is there, as `credentials` writes it."""
    envelope: bytes


class Listener(Protocol):
    """A ROUTER that clients connect to: `unix_listener` for those of this machine, `curve_listener` for others."""

    def filenos(self) -> list[int]:
        """What to poll; readable means: look at `has_input`."""
        ...

    def monitor_filenos(self) -> list[int]:
        """What to poll for connections that end."""
        ...

    def has_input(self) -> bool:
        """Whether something was left over that no descriptor tells of."""
        ...

    def receive(self) -> Iterator[Received]:
        """What clients sent, a bounded number of envelopes."""
        ...

    def has_spoken(self, connection: bytes) -> None:
        """This connection has said what it wants: it may stay."""
        ...

    def must_speak(self, connection: bytes) -> None:
        """What this connection wanted is over: it may stay if it soon says what it wants now."""
        ...

    def end(self, connection: bytes) -> bool:
        """End it; False if that cannot be done here. Its client may come back on another one."""
        ...

    def gone(self) -> list[bytes]:
        """Connections that have ended since the last call."""
        ...

    @property
    def has_gone(self) -> bool:
        """Whether `gone` would give something."""
        ...

    def send(self, connection: bytes, envelope: bytes, *, more: bool = False) -> bool:
        """Send; False if there is no room. To a connection that has ended it goes nowhere. `more`: another one to it
        follows at once."""
        ...

    def tend(self, now_s: float) -> None:
        """Once a second: end the connections whose time is over."""
        ...

    def hit(self, connection: bytes, bound: str) -> None:
        """A bound was reached on behalf of this connection."""
        ...

    def take_hits(self) -> dict[tuple[str, str], int]:
        """How often whom which bound has stopped since the last call: (bound, who)."""
        ...

    def totals(self) -> dict[str, int]:
        """Counters, for the status."""
        ...

    def close(self) -> None:
        """Close everything."""
        ...
