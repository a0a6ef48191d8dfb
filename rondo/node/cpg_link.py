"""A gateway's connection to cpg. When it breaks, everything queued is dropped, so that no envelope for one cpg reaches
the next one. cpg may start later than the gateway, and may be killed at any time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

from rondo.ipc.local_dealer import LocalDealer
from rondo.protocol import cpg_gateway
from rondo.protocol.envelope import BusError


class CpgLink:
    """Envelopes to and from cpg. After `has_broken` everything was lost, and a new hello is due."""

    def __init__(self, run_dir: Path) -> None:
        self.errors = 0
        """Frames from cpg that were no envelopes."""
        self.outbox: deque[bytes] = deque()
        self.socket = LocalDealer(f"ipc://{run_dir / 'cpg.sock'}")

    @property
    def is_full(self) -> bool:
        """True if cpg accepts no more at present."""
        return bool(self.outbox)

    def has_broken(self) -> bool:
        """True if the connection broke since the last call. Everything queued is then gone."""
        if not self.socket.is_broken:
            return False
        self.socket.is_broken = False
        self.outbox.clear()
        return True

    def send(self, envelope: cpg_gateway.Envelope) -> None:
        """Send now, or queue until there is room."""
        self.outbox.append(cpg_gateway.encode(envelope))
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as there is room."""
        while self.outbox and self.socket.send(self.outbox[0]):
            self.outbox.popleft()

    def receive(self) -> Iterator[cpg_gateway.Envelope]:
        """Envelopes from cpg, a bounded number."""
        for frame in self.socket.receive():
            try:
                yield cpg_gateway.decode(frame)
            except BusError:
                self.errors += 1

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()
