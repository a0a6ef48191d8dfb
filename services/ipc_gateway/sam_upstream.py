"""The way to SAM. Each request stands for itself: it goes there with who asks, and its answer comes back by its number.

SAM may be away or be killed with requests in its hands: then they are answered with LIBRARY (2), which says that nobody
knows whether they were done, and that they may be asked again, which SAM's requests allow.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from rondo.ipc.local import Dealer
from rondo.protocol import sam_gateway as bus
from rondo.protocol.codes import Code
from rondo.protocol.envelope import BusError, pack
from services.ipc_gateway.credentials import Identity

WAITING_MAX = 1024
"""Requests that wait for SAM's answer, of all clients together."""

log = logging.getLogger("IPC_GATEWAY")
Answer = Callable[[bytes, int, int, bytes], object]
"""Called with connection, number, code, blob."""


class SamUpstream:
    """Requests to SAM and answers from it."""

    def __init__(self, run_dir: Path, answer: Answer) -> None:
        self._answer = answer
        self._waiting: set[tuple[bytes, int]] = set()
        self.errors = 0
        self.socket = Dealer(f"ipc://{run_dir / bus.SOCKET}")

    def ask(self, connection: bytes, number: int, who: Identity | None, blob: bytes) -> None:
        """A client asks; `who` is None if its process is gone or cannot be seen."""
        if who is None:
            self._refuse(connection, number, Code.ACCESS, "the process that asks cannot be seen by this node")
        elif len(blob) > bus.REQUEST_BYTES_MAX:
            self._refuse(connection, number, Code.TOO_BIG, f"a request has at most {bus.REQUEST_BYTES_MAX} bytes")
        elif len(self._waiting) >= WAITING_MAX:
            self._refuse(connection, number, Code.TRY_AGAIN, f"{WAITING_MAX} requests wait for SAM already")
        else:
            ask = bus.Ask(0, connection, number, who.pid, who.start_time, who.uid, who.gid, list(who.groups), blob)
            if self.socket.send(bus.encode(ask)):
                self._waiting.add((connection, number))
            else:
                self._refuse(connection, number, Code.TRY_AGAIN, "SAM does not run now; it is started again")

    def _refuse(self, connection: bytes, number: int, code: Code, text: str) -> None:
        self._answer(connection, number, code, pack(text))

    def receive(self) -> None:
        """Hand on what SAM answers. If the connection broke, what SAM had in its hands is lost."""
        for frame in self.socket.receive():
            try:
                answer = bus.decode(frame)
            except BusError:
                self.errors += 1
                continue
            if isinstance(answer, bus.Answer) and (answer.connection, answer.number) in self._waiting:
                self._waiting.discard((answer.connection, answer.number))
                self._answer(answer.connection, answer.number, answer.code, answer.blob)

        if self.socket.is_broken:
            self.socket.is_broken = False
            waiting, self._waiting = self._waiting, set()
            for connection, number in waiting:
                self._refuse(connection, number, Code.LIBRARY, "SAM was restarted; ask again")

    def close(self) -> None:
        """Close."""
        self.socket.close()
