"""Ask several services of a node the same question at once, in one thread, and keep the connections.

`control.ask` makes a connection for one question. A program that queries a whole node again and again avoids that. The
connection of a service that does not answer in time is closed, so that a late answer is never taken for the answer to a
later question.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rondo.ipc.control import answer_of, endpoint, socket_path
from rondo.ipc.endpoints import SocketError
from rondo.ipc.local_dealer import LocalDealer
from rondo.ipc.trust import check_server
from rondo.paths import PathError, check_directory
from rondo.protocol.envelope import BusError, pack, unpack

Answers = dict[str, dict[str, Any] | None]
"""The answer of each service; None if it gave none."""


class Surveyor:
    """Connections to the control sockets of several services."""

    def __init__(self, run_dir: Path, services: Sequence[str]) -> None:
        self._run_dir = run_dir
        self._services = tuple(services)
        self._paths = {name: str(socket_path(run_dir, name)) for name in services}
        self._dealers: dict[str, LocalDealer] = {}

    def ask(self, op: str, timeout_s: float) -> Answers:
        """The answer that each service gives within that time, in the order in which the services were named."""
        answers: Answers = dict.fromkeys(self._services)
        try:
            check_directory(self._run_dir)
        except PathError:
            return answers
        question, until_s = pack({"op": op}), time.monotonic() + timeout_s
        # One is waited for after the other: while the first one works out its answer so do the rest, and this thread is
        # not woken for each.
        for name in [name for name in self._services if self._send(name, question)]:
            answers[name] = _answer(answer_of(self._dealers[name], until_s))
        for name in self._services:
            if answers[name] is None:
                self._drop(name)
        return answers

    def _send(self, name: str, question: bytes) -> bool:
        """Ask one service. False if nobody is there, or if the server is not to be trusted."""
        dealer = self._dealers.get(name)
        if dealer is None:
            if not os.path.exists(self._paths[name]):
                return False  # most nodes have services that are off: a dealer for each question would be dear
            try:
                dealer = self._dealers[name] = LocalDealer(endpoint(self._run_dir, name), trusts=check_server)
            except SocketError:
                return False
        return dealer.is_connected and dealer.send(question)

    def _drop(self, name: str) -> None:
        if (dealer := self._dealers.pop(name, None)) is not None:
            dealer.close()

    def close(self) -> None:
        """Close all connections. `ask` makes new ones."""
        for name in self._services:
            self._drop(name)


def _answer(frames: list[bytes]) -> dict[str, Any] | None:
    try:
        answer = unpack(frames[0]) if frames else None
    except BusError:
        return None
    return answer if isinstance(answer, dict) and answer.get("ok") is True else None
