"""The connection to a service that answers requests. Each request stands for itself; its answer bears its number.

The service may be absent, or be killed with requests in progress. Those are answered with LIBRARY (2): nobody knows
whether they were executed.

Some answers come late: SAM answers STOP when the application has ended. So the waiting requests of each user are
bounded, and some room is reserved for root and the node's own user. The requests of a client that has gone are dropped.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rondo.ipc.local_dealer import LocalDealer
from rondo.protocol.codes import Code
from rondo.protocol.envelope import BusError, pack

WAITING_MAX = 1024
"""How many requests of all clients together may wait for an answer."""
WAITING_OF_OTHERS_MAX = 768
"""The same for all users but root and the node's own."""
WAITING_PER_USER_MAX = 64
"""The same for one of these users."""

log = logging.getLogger("IPC_GATEWAY")
Answer = Callable[[bytes, int, int, bytes], object]
"""Called with connection, number, code, blob."""


class Asking:
    """Requests to a service, and its answers."""

    def __init__(
        self, endpoint: Path, name: str, request_bytes_max: int, decode: Callable[[bytes], Any], answer: Answer
    ) -> None:
        """`decode` makes an answer from a frame, with `connection`, `number`, `code` and `blob`; it raises
        `BusError`."""
        self._name = name
        self._request_bytes_max = request_bytes_max
        self._decode = decode
        self._answer = answer
        self._waiting: dict[bytes, dict[int, int]] = {}
        """The users of the waiting requests, by connection and number."""
        self._of_user: Counter[int] = Counter()
        """By user: how many requests wait; none is zero."""
        self._favoured = {0, os.geteuid()}
        self.errors = 0
        self.refused = 0
        """Requests for which there was no room."""
        self.socket = LocalDealer(f"ipc://{endpoint}")

    def send(self, connection: bytes, number: int, uid: int, blob: bytes, envelope: Callable[[], bytes]) -> None:
        """Forward a request of a client of this user. `envelope` makes the envelope for the service."""
        if len(blob) > self._request_bytes_max:
            self.refuse(connection, number, Code.TOO_BIG, f"a request has at most {self._request_bytes_max} bytes")
        elif why := self._why_full(uid):
            self.refused += 1
            self.refuse(connection, number, Code.TRY_AGAIN, why)
        elif number in self._waiting.get(connection, ()):
            self.refuse(connection, number, Code.INVALID_PARAM, f"request {number} of this connection waits already")
        elif self.socket.send(envelope()):
            self._waiting.setdefault(connection, {})[number] = uid
            self._of_user[uid] += 1
        else:
            self.refuse(
                connection, number, Code.TRY_AGAIN, f"{self._name} does not run now; it is started again"
            )  # fmt: skip

    def _why_full(self, uid: int) -> str:
        """Why no more requests of this user may wait; empty if another one may."""
        if self._of_user.total() >= WAITING_MAX:
            return f"{WAITING_MAX} requests wait for {self._name} already"
        if uid in self._favoured:
            return ""
        if self._of_user[uid] >= WAITING_PER_USER_MAX:
            return f"{WAITING_PER_USER_MAX} requests of user {uid} wait for {self._name} already"
        if self._of_user.total() - sum(self._of_user[each] for each in self._favoured) >= WAITING_OF_OTHERS_MAX:
            return f"{WAITING_OF_OTHERS_MAX} requests of users wait for {self._name} already"
        return ""

    def _settle(self, connection: bytes, number: int) -> bool:
        """This request waits no longer. False if it did not wait."""
        numbers = self._waiting.get(connection, {})
        uid = numbers.pop(number, None)
        if uid is None:
            return False
        if not numbers:
            del self._waiting[connection]
        self._of_user[uid] -= 1
        if not self._of_user[uid]:
            del self._of_user[uid]
        return True

    def refuse(self, connection: bytes, number: int, code: Code, text: str) -> None:
        """Answer a request without asking the service."""
        self._answer(connection, number, code, pack(text))

    def receive(self) -> None:
        """Forward the service's answers. If the connection broke, the requests in progress are lost."""
        for frame in self.socket.receive():
            try:
                answer = self._decode(frame)
            except BusError:
                self.errors += 1
                continue
            if self._settle(answer.connection, answer.number):
                self._answer(answer.connection, answer.number, answer.code, answer.blob)
        if self.socket.is_broken:
            self.socket.is_broken = False
            waiting, self._waiting = self._waiting, {}
            self._of_user.clear()
            for connection, number in ((each, number) for each, numbers in waiting.items() for number in numbers):
                self.refuse(connection, number, Code.LIBRARY, f"{self._name} was restarted; ask again")

    def forget(self, connection: bytes) -> None:
        """A connection is gone: drop its requests."""
        for number in list(self._waiting.get(connection, ())):
            self._settle(connection, number)

    def close(self) -> None:
        """Close the connection to the service."""
        self.socket.close()
