"""Queries of C programs about any groups, and ring events for programs that are in no group. All share one session of
the gateway's own."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any

from rondo._client.batches import Request
from rondo.protocol import events as bus_events
from rondo.protocol.codes import Code
from rondo.protocol.cpg_gateway import OpenFlag
from rondo.protocol.requests import Op
from services.qb_gateway.cpg.session import Event
from services.qb_gateway.cpg.sessions import Sessions

Answer = Callable[[Any, int], None]
"""Takes the result and 0, or None and the code of the error."""


class Queries:
    """The gateway's own session. It is reopened whenever cpg ends it."""

    def __init__(self, sessions: Sessions, on_ring: Callable[[Event], None]) -> None:
        self._sessions = sessions
        self._on_ring = on_ring
        self._waiting: deque[tuple[Request, Answer]] = deque()
        self._open()

    def _open(self) -> None:
        self._session = self._sessions.open(self, os.getpid(), os.geteuid(), os.getegid(), OpenFlag.RING_EVENTS)

    @property
    def has_ring(self) -> bool:
        """True if the node is in a ring and in sync with its members."""
        return self._session.ring is not None

    def ask(self, answer: Answer, op: Op, *arguments: Any) -> None:
        """Send a query; `answer` is called with its result."""
        self._waiting.append((self._session.request(op, *arguments), answer))
        self._sessions.touch(self._session)

    # -- called by the session -----------------------------------------------------------------------------------

    def on_progress(self) -> None:
        """Answers come in the order of the queries."""
        waiting = self._waiting
        while waiting and waiting[0][0].is_done:
            request, answer = waiting.popleft()
            error = request.error
            answer(request.result if error is None else None, 0 if error is None else error.code)

    def on_events(self, events: list[Event], last: int) -> None:
        """Process ring events."""
        for event in events:
            if event[1] == bus_events.RING:
                self._on_ring(event)
        self._session.acknowledged = last

    def on_new_log(self, _ring: list[Any] | None) -> None:
        """The session itself repeats queries without an answer. Those that failed are answered with the error."""
        self.on_progress()

    def on_end(self, _reason: str) -> None:
        """Reopen the session. Waiting programs are told to try again."""
        waiting, self._waiting = self._waiting, deque()
        self._open()
        for _, answer in waiting:
            answer(None, int(Code.TRY_AGAIN))
