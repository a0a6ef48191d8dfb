"""The interface of a client's end of a connection. `local_dealer` works in the calling thread, `remote_dealer` uses
libzmq."""

from __future__ import annotations

from typing import Protocol


class Dealer(Protocol):
    """Connects, and reconnects when necessary. No method blocks.

    What was sent on a connection that broke is lost with it. `is_broken` reports that, and what is sent afterwards goes
    to the next connection. Check `has_pending` before polling, since not every implementation's descriptor tells of
    everything.
    """

    is_broken: bool
    """A connection broke since the owner last cleared this."""
    was_ready: bool
    """Its handshake was done, so that what was sent may have arrived. Otherwise none of it has."""
    is_denied: bool
    """The other side refuses this process."""
    retry_at_s: float | None
    """The time.monotonic() at which `tend` has to be called; None: nothing is due."""

    @property
    def is_connected(self) -> bool:
        """True if there is a connection, as far as is known."""
        ...

    @property
    def is_blocked(self) -> bool:
        """True if envelopes wait for room in the socket."""
        ...

    @property
    def has_pending(self) -> bool:
        """True if `receive` has work of which the descriptor does not tell."""
        ...

    def fileno(self) -> int:
        """The descriptor to poll for reading."""
        ...

    def tend(self, now_s: float) -> None:
        """Try to connect if that is due."""
        ...

    def renew(self) -> None:
        """Make a new connection, because nobody knows what was half-done on this one."""
        ...

    def send(self, envelope: bytes) -> bool:
        """Send; False if there is no room now."""
        ...

    def receive(self) -> list[bytes]:
        """Envelopes that have come, a bounded number of them."""
        ...

    def close(self) -> None:
        """Close all descriptors."""
        ...
