"""Sends one request to the other services of this node, over their control sockets, and collects their answers.

A service that is being restarted gets some time to answer: it may have started before the request existed. A service
without a socket does not run here.
"""

from __future__ import annotations

import contextlib
import select
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from rondo.ipc.control import endpoint
from rondo.ipc.local_dealer import LocalDealer
from rondo.node.supervision import SERVICES
from rondo.protocol.envelope import BusError, pack, unpack

OTHERS = tuple(name for name in SERVICES if name != "control")
WAIT_S = 10.0
"""A service that has not answered by then is given up."""


class Siblings:
    """One request, until every service has answered or was given up."""

    def __init__(
        self,
        run_dir: Path,
        poll: select.epoll,
        request: Mapping[str, Any],
        now_s: float,
        names: Collection[str] = OTHERS,
        wait_s: float = WAIT_S,
    ) -> None:
        """`names`: the services to ask, if they run here."""
        self.answers: dict[str, dict[str, Any]] = {}
        """Answers, by service."""
        self.failed: dict[str, str] = {}
        """Reasons of failures, by service: refused, or not answered."""
        self._request = pack(dict(request))
        self._wait_s = wait_s
        self._until_s = now_s + wait_s
        self._asked: dict[str, LocalDealer] = {}
        for name in names:
            if (run_dir / f"{name}.ctl").exists():
                self._asked[name] = dealer = LocalDealer(endpoint(run_dir, name))
                dealer.send(self._request)
                poll.register(dealer.fileno(), select.EPOLLIN)

    @property
    def is_done(self) -> bool:
        """Whether no more answers are expected."""
        return not self._asked

    @property
    def due_s(self) -> float:
        """When to call `tend` at the latest."""
        if self.is_done:
            return 0.0
        retries = [dealer.retry_at_s for dealer in self._asked.values() if dealer.retry_at_s is not None]
        return min([self._until_s, *retries])

    def tend(self, now_s: float) -> None:
        """Take answers. Repeat the request to a service that was killed before it answered."""
        for name, dealer in list(self._asked.items()):
            dealer.tend(now_s)
            frames = dealer.receive()
            if frames:
                self._settle(name, self._take(name, frames[-1]))
            elif now_s >= self._until_s:
                self._settle(name, f"has not answered within {self._wait_s:g} s")
            elif dealer.is_broken:
                dealer.is_broken = False
                dealer.send(self._request)

    def _take(self, name: str, frame: bytes) -> str:
        """Keep an answer. Returns its fault; empty if it is good."""
        with contextlib.suppress(BusError):
            answer = unpack(frame)
            if isinstance(answer, dict):
                if answer.get("ok") is True:
                    self.answers[name] = answer
                    return ""
                return str(answer.get("error"))
        return "its answer is malformed"

    def _settle(self, name: str, fault: str) -> None:
        self._asked.pop(name).close()
        if fault:
            self.failed[name] = fault

    def close(self) -> None:
        """Stop waiting for answers."""
        for dealer in self._asked.values():
            dealer.close()
        self._asked.clear()
