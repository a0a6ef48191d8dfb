"""The connection of another service of the node to control: requests, and watches.

control may be killed at any time. Requests without an answer are then sent again, except for those that must not be
executed twice. A watch continues after the last event received, so that none is left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from rondo.ipc.local_dealer import LocalDealer
from rondo.protocol import control_gateway as bus
from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Op
from rondo.protocol.envelope import BusError, unpack

Answer = Callable[[int, Any], None]
"""Takes a code (cs_error_t) and the result. In case of an error the result is a text."""
OnEvents = Callable[[list[dict[str, Any]], bool], None]
"""Takes events, and whether some were lost before them."""

NOT_TWICE = (Op.INCREMENT, Op.KILL, Op.SHUTDOWN, Op.VOTE_ON_SHUTDOWN)
RETRY_S = 0.2
"""The delay before a request is sent again."""


class ControlLink:
    """All requests and watches of one service."""

    def __init__(self, run_dir: Path) -> None:
        self.errors = 0
        self.breaks = 0
        """How often the connection broke. After a break, state that was derived from answers must be asked for
        again."""
        self.socket = LocalDealer(f"ipc://{run_dir / bus.SOCKET}")
        self._numbers = count(1)
        self._asked: dict[int, tuple[Op, dict[str, Any], Answer, bytes]] = {}
        self._unsent: deque[int] = deque()
        self._later: list[tuple[float, int]] = []

    @property
    def due_s(self) -> float | None:
        """When `tend` has to be called."""
        return self._later[0][0] if self._later else None

    def ask(self, op: Op, arguments: dict[str, Any], answer: Answer, whose: bytes = b"") -> None:
        """Send a request; `answer` is called with its result. `whose`: the program that it is for, so that `forget` can
        drop it."""
        number = next(self._numbers)
        self._asked[number] = op, arguments, answer, whose
        self._unsent.append(number)
        self.flush()

    def forget(self, whose: bytes) -> None:
        """This program is gone: drop its requests and its vote on shutdowns."""
        for number in [number for number, asked in self._asked.items() if asked[3] == whose]:
            del self._asked[number]
        self._unsent = deque(number for number in self._unsent if number in self._asked)
        self._later = [(at_s, number) for at_s, number in self._later if number in self._asked]
        self.socket.send(bus.encode(bus.Forget(0, whose)))

    def watch(self, of: str, on_events: OnEvents) -> None:
        """Call `on_events` with all events from now on. The first call has no events: the watch has begun."""

        def ask(after: int | None) -> None:
            arguments = {"of": of, "prefix": ""} if after is None else {"of": of, "prefix": "", "after": after}
            self.ask(Op.WATCH, arguments, answered)

        def answered(code: int, result: Any) -> None:
            if code != Code.OK:
                ask(None)
                return
            ask(result["number"])
            on_events(result["events"], bool(result["lost"]))

        ask(None)

    def flush(self) -> None:
        """Send what waits, as far as there is room."""
        unsent = self._unsent
        while unsent:
            op, arguments, _, whose = self._asked[unsent[0]]
            blob = bus.encode_request(op, arguments)
            if not self.socket.send(bus.encode(bus.Ask(0, whose, unsent[0], blob))):
                return
            unsent.popleft()

    def receive(self, now_s: float) -> None:
        """Process the answers of control."""
        for frame in self.socket.receive():
            try:
                said = bus.decode(frame)
                if not isinstance(said, bus.Answer):
                    raise BusError("not an answer")
                result = unpack(said.blob)
            except BusError:
                self.errors += 1
                continue
            if said.number not in self._asked:
                continue
            if said.code == Code.TRY_AGAIN:
                self._later.append((now_s + RETRY_S, said.number))
                continue
            _, _, answer, _ = self._asked.pop(said.number)
            answer(said.code, result)

    def tend(self, now_s: float) -> None:
        """Reconnect, and repeat requests, where that is due."""
        self.socket.tend(now_s)
        if self.socket.is_broken:
            self.socket.is_broken = False
            self.breaks += 1
            self._later.clear()
            lost = [number for number, (op, _, _, _) in self._asked.items() if op in NOT_TWICE]
            failed = [self._asked.pop(number) for number in lost]
            self._unsent = deque(self._asked)
            for _, _, answer, _ in failed:
                answer(int(Code.LIBRARY), "control died before it answered")
        while self._later and self._later[0][0] <= now_s:
            self._unsent.append(self._later.pop(0)[1])
        self.flush()

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()
