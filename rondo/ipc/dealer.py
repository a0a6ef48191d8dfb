"""What a client's end of a connection does, whichever way it goes: in the calling thread (`local`), or by libzmq
(`remote_dealer`)."""

from __future__ import annotations

from typing import Protocol


class Dealer(Protocol):
    """Connects, and connects again whenever it must; nothing here ever waits.

    What was given to a connection that broke is lost with it; `is_broken` says so, and what is sent then goes to the
    next one. Whoever polls looks at `has_pending` before, since not every way has a descriptor that tells of all.
    """

    is_broken: bool
    """A connection broke since somebody last set this back."""
    is_denied: bool
    """The other side does not let this process in."""
    retry_at_s: float | None
    """When `tend` has to be called, by time.monotonic(); None: nothing is due."""

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        ...

    @property
    def is_blocked(self) -> bool:
        """Whether something waits for room in the socket."""
        ...

    @property
    def has_pending(self) -> bool:
        """Whether `receive` would do something that the descriptor does not tell of."""
        ...

    def fileno(self) -> int:
        """What to poll for reading."""
        ...

    def tend(self, now_s: float) -> None:
        """Try to connect if that is due."""
        ...

    def renew(self) -> None:
        """Make another connection, because nobody knows what this one was about to do."""
        ...

    def send(self, envelope: bytes) -> bool:
        """Send; False if there is no room now."""
        ...

    def receive(self) -> list[bytes]:
        """What has come, a bounded number of envelopes."""
        ...

    def close(self) -> None:
        """Close everything."""
        ...
