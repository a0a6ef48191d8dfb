"""The way to a service that is asked: requests stand for themselves, and answers come back by their number.

The service may be away or be killed with requests in its hands: then they are answered with LIBRARY (2), which says
that nobody knows whether they were done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rondo.ipc.local import Dealer
from rondo.protocol.codes import Code
from rondo.protocol.envelope import BusError, pack

WAITING_MAX = 1024
"""Requests that wait for an answer, of all clients together."""

log = logging.getLogger("IPC_GATEWAY")
Answer = Callable[[bytes, int, int, bytes], object]
"""Called with connection, number, code, blob."""


class Asking:
    """Requests to a service and answers from it."""

    def __init__(
        self, endpoint: Path, name: str, request_bytes_max: int, decode: Callable[[bytes], Any], answer: Answer
    ) -> None:
        """`decode` makes an answer of a frame, with `connection`, `number`, `code` and `blob`; it raises `BusError`."""
        self._name = name
        self._request_bytes_max = request_bytes_max
        self._decode = decode
        self._answer = answer
        self._waiting: set[tuple[bytes, int]] = set()
        self.errors = 0
        self.socket = Dealer(f"ipc://{endpoint}")

    def send(self, connection: bytes, number: int, blob: bytes, envelope: Callable[[], bytes]) -> None:
        """A client asks; `envelope` makes what the service is sent."""
        if len(blob) > self._request_bytes_max:
            self.refuse(connection, number, Code.TOO_BIG, f"a request has at most {self._request_bytes_max} bytes")
        elif len(self._waiting) >= WAITING_MAX:
            self.refuse(connection, number, Code.TRY_AGAIN, f"{WAITING_MAX} requests wait for {self._name} already")
        elif self.socket.send(envelope()):
            self._waiting.add((connection, number))
        else:
            self.refuse(
                connection, number, Code.TRY_AGAIN, f"{self._name} does not run now; it is started again"
            )  # fmt: skip

    def refuse(self, connection: bytes, number: int, code: Code, text: str) -> None:
        """Answer without asking."""
        self._answer(connection, number, code, pack(text))

    def receive(self) -> None:
        """Hand on what the service answers. If the connection broke, what the service had in its hands is lost."""
        for frame in self.socket.receive():
            try:
                answer = self._decode(frame)
            except BusError:
                self.errors += 1
                continue
            if (answer.connection, answer.number) in self._waiting:
                self._waiting.discard((answer.connection, answer.number))
                self._answer(answer.connection, answer.number, answer.code, answer.blob)
        if self.socket.is_broken:
            self.socket.is_broken = False
            waiting, self._waiting = self._waiting, set()
            for connection, number in waiting:
                self.refuse(connection, number, Code.LIBRARY, f"{self._name} was restarted; ask again")

    def forget(self, connection: bytes) -> None:
        """A connection is gone: its answers are for nobody."""
        if self._waiting:
            self._waiting = {each for each in self._waiting if each[0] != connection}

    def close(self) -> None:
        """Close."""
        self.socket.close()
