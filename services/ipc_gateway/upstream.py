"""The connection to cpg. It is made anew whenever it breaks, so that nothing that was queued for one cpg reaches the
next one; cpg may start later than we, or be killed at any time.
"""

from collections import deque
from collections.abc import Iterator
from pathlib import Path

import zmq
from zmq.utils.monitor import recv_monitor_message

from rondo.bus import sessions
from rondo.bus.envelope import BusError
from rondo.bus.sockets import connect_dealer, receive_all, send


class Upstream:
    """Envelopes to and from cpg. `is_broken` says that all was lost, and a new hello is due after `connect`."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", run_dir: Path) -> None:
        self._context = context
        self._endpoint = f"ipc://{run_dir / 'cpg.sock'}"
        self.socket: zmq.Socket[bytes]
        self.monitor: zmq.Socket[bytes]
        self.outbox: deque[bytes] = deque()
        self.errors = 0
        self._open()

    def _open(self) -> None:
        self.socket = connect_dealer(self._context, self._endpoint)
        self.monitor = self.socket.get_monitor_socket(zmq.Event.DISCONNECTED)

    def connect(self) -> None:
        """A new connection instead of the old one; what was queued is dropped."""
        self.close()
        self.outbox.clear()
        self._open()

    def is_broken(self) -> bool:
        """Whether the connection broke."""
        broken = False
        while self.monitor.poll(0):
            recv_monitor_message(self.monitor)
            broken = True
        return broken

    def send(self, envelope: sessions.Envelope) -> None:
        """Send now, or when there is room."""
        self.outbox.append(sessions.encode(envelope))
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as there is room."""
        while self.outbox and send(self.socket, self.outbox[0]):
            self.outbox.popleft()

    def receive(self) -> Iterator[sessions.Envelope]:
        """What cpg sent, a bounded number of envelopes."""
        for frame in receive_all(self.socket):
            try:
                yield sessions.decode(frame)
            except BusError:
                self.errors += 1

    def close(self) -> None:
        """Close."""
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close(linger=0)
