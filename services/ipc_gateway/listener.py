"""The interface of the sockets that clients connect to."""

from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

SEND_ENVELOPES_MAX: Final = 1024
"""How many envelopes wait for one local client; their bytes are bounded, too."""
ENVELOPE_ROOM_BYTES: Final = 1024 * 1024
"""How much larger an envelope may be than the largest message."""
ENVELOPES_PER_DRAIN: Final = 64
MODE_PRIVATE: Final = 0o600
MODE_OPEN: Final = 0o666


class Received(NamedTuple):
    """An envelope of a client."""

    connection: bytes
    """The name of its connection, unique during the life of this process."""
    stamp: str
    """The peer, as `credentials` encodes it."""
    envelope: bytes


class Listener(Protocol):
    """A ROUTER that clients connect to: `unix_listener` for local ones, `curve_listener` for those on other hosts."""

    def filenos(self) -> list[int]:
        """The descriptors to poll. When one is readable, check `has_input`."""
        ...

    def monitor_filenos(self) -> list[int]:
        """The descriptors to poll for ended connections."""
        ...

    def has_input(self) -> bool:
        """True if there is input of which no descriptor tells."""
        ...

    def receive(self) -> Iterator[Received]:
        """Envelopes of clients, a bounded number."""
        ...

    def has_spoken(self, connection: bytes) -> None:
        """The connection has said what it wants: it may stay."""
        ...

    def must_speak(self, connection: bytes) -> None:
        """What the connection wanted has ended: it may stay if it soon says what it wants now."""
        ...

    def end(self, connection: bytes) -> bool:
        """End the connection; False if that is impossible here. Its client may come back on another one."""
        ...

    def gone(self) -> list[bytes]:
        """Connections that have ended since the last call."""
        ...

    @property
    def has_gone(self) -> bool:
        """True if `gone` would return something."""
        ...

    def send(self, connection: bytes, envelope: bytes, *, more: bool = False) -> bool:
        """Send; False if there is no room. An envelope to an ended connection is dropped. `more`: another one to it
        follows at once."""
        ...

    def tend(self, now_s: float) -> None:
        """Call once a second: end connections that are overdue."""
        ...

    def hit(self, connection: bytes, bound: str) -> None:
        """Record that this connection has reached a bound."""
        ...

    def take_hits(self) -> dict[tuple[str, str], int]:
        """Bounds that were reached since the last call: (bound, who), and how often."""
        ...

    def totals(self) -> dict[str, int]:
        """Counters, for the status."""
        ...

    def close(self) -> None:
        """Close all sockets."""
        ...
