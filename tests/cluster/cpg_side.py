"""cpg's end of the bus, for tests without a cpg process. It takes totem's log and answers the steps of the sync."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

import zmq

from rondo.ipc import zmq_sockets
from rondo.protocol import totem_reader
from rondo.protocol.envelope import PROTOCOL_VERSION
from rondo.protocol.totem_reader import Ack, Again, Envelope, Hello, Log, Submit, SyncReply, Taken, Welcome
from rondo.testing.lab.totem_nodes import START_SECONDS

CPG_MCAST = 2 << 16 | 3


def executive(payload: bytes) -> bytes:
    """A message of Corosync's service CPG with this payload."""
    return struct.pack("<i4xi4x", CPG_MCAST, 16 + len(payload)) + payload


class CpgSide:
    """Takes the log in order, answers sync steps, and acknowledges entries."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], run_dir: Path, sync_message: bytes) -> None:
        self.socket = zmq_sockets.connect_dealer(context, f"ipc://{run_dir / 'totem.sock'}")
        self.acknowledges = False
        """True: every entry is acknowledged at once, so that totem may forget it."""
        self.sync_message = sync_message
        self.welcome: Welcome | None = None
        self.entries: list[totem_reader.Entry] = []
        self.position = 0
        self.taken: dict[int, int] = {}
        self.again = 0
        self.send(Hello(0, PROTOCOL_VERSION, 4711))

    def send(self, envelope: Envelope) -> None:
        assert self.socket.poll(int(START_SECONDS * 1000), zmq.POLLOUT), "totem does not read"
        assert zmq_sockets.send(self.socket, totem_reader.encode(envelope))

    @property
    def epoch(self) -> int:
        assert self.welcome is not None
        return self.welcome.epoch

    def serve(self, wait_ms: int) -> None:
        """Handle received envelopes. Waits at most `wait_ms` for the first."""
        self.socket.poll(wait_ms)
        before = self.position
        for frame in zmq_sockets.receive_all(self.socket):
            self._handle(totem_reader.decode(frame))
        if self.acknowledges and self.position > before:
            self.send(Ack(self.epoch, self.position, b"", b"", [], []))

    def _handle(self, envelope: Envelope) -> None:
        if isinstance(envelope, Welcome):
            self.welcome = envelope
            self.position = envelope.position
        elif isinstance(envelope, Log):
            assert envelope.first == self.position + 1
            self.position += len(envelope.entries)
            self.entries += envelope.entries
            for n, entry in enumerate(envelope.entries, envelope.first):
                if entry[0] == totem_reader.SYNC_STEP:
                    self.send(SyncReply(self.epoch, n, [self.sync_message]))
        elif isinstance(envelope, Taken):
            self.taken |= dict(map(tuple, envelope.taken))  # type: ignore[arg-type]  # pairs
        elif isinstance(envelope, Again):
            self.again += 1

    def submit(self, session: int, request: int, *messages: bytes) -> None:
        self.send(Submit(self.epoch, [[session, request, 2, None, [executive(each) for each in messages]]]))

    def kinds(self) -> list[int]:
        return [entry[0] for entry in self.entries]

    def payloads(self) -> list[bytes]:
        return [entry[4][16:] for entry in self.entries if entry[0] == totem_reader.MESSAGE]


def serve_until(true: Callable[[], bool], *sides: CpgSide, seconds: float = START_SECONDS) -> bool:
    """Serve all these sides until `true()` holds or the time is over. Returns whether it holds."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        for each in sides:
            each.serve(20 // len(sides))
    return true()
