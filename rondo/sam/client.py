"""What an application knows of itself and SAM, and may ask for. `rondo.sam` and `rondo.aio.sam` are made of it."""

import contextlib
import os
import signal
from enum import StrEnum
from typing import Any

from rondo._client.endpoint import endpoint_of
from rondo.errors import BadHandle, Exists, InvalidParameter
from rondo.protocol.sam_gateway import Op
from rondo.sam.link import SamLink

CONNECT_TIMEOUT_S = 5.0
CONFIRMATIONS_PER_INTERVAL = 4
"""How often a health check callback is called (as in Corosync)."""
OK = b"ok\n"


class Policy(StrEnum):
    """What follows the end of the application."""

    RESTART = "restart"
    QUIT = "quit"


class Client:
    """One application's connection to SAM. Blocking; nothing runs in the background."""

    def __init__(self, interval_ms: int, policy: Policy, endpoint: str | None, timeout: float | None) -> None:
        if type(interval_ms) is not int or interval_ms < 0:
            raise InvalidParameter(f"interval_ms is a number of milliseconds, 0 for no limit, not {interval_ms!r}")
        try:
            self.policy = Policy(policy)
        except ValueError:
            raise InvalidParameter(f"policy is rondo.sam.Policy.RESTART or QUIT, not {policy!r}") from None
        self.interval_ms = interval_ms
        self.warn_signal = int(signal.SIGTERM)
        self.instance = -1
        """-1: not registered."""
        self.id = ""
        self.is_started = False
        self._health = -1
        self._link = SamLink(endpoint_of(endpoint))
        try:
            self._link.ask(Op.HELLO, timeout=timeout)
        except BaseException:
            self._link.close()
            raise

    def ask(self, op: Op, arguments: dict[str, Any] | None = None) -> Any:
        """Ask SAM for something that a registered application may ask for."""
        if self.instance < 0:
            raise BadHandle("register() comes first")
        return self._link.ask(op, arguments)

    def register(self) -> int:
        """See `rondo.sam.register`."""
        if self.instance >= 0:
            raise Exists("this process is registered already")
        arguments = {"interval_ms": self.interval_ms, "policy": self.policy.value, "signal": self.warn_signal}
        answer = self._link.ask(Op.REGISTER, arguments)
        self._health = os.open(answer["health"], os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.id, self.instance = answer["id"], answer["instance"]
        return self.instance

    def warn_signal_set(self, number: int) -> None:
        """See `rondo.sam.warn_signal_set`."""
        if number not in signal.valid_signals():
            raise InvalidParameter(f"there is no signal {number!r}")
        if self.instance >= 0:
            self._link.ask(Op.WARN_SIGNAL, {"signal": int(number)})
        self.warn_signal = int(number)

    def health_check_send(self) -> None:
        """See `rondo.sam.health_check_send`."""
        if self._health < 0:
            raise BadHandle("register() comes first")
        # Full: SAM has not looked for long, and will not call an application hung that it did not listen to.
        with contextlib.suppress(BlockingIOError):
            os.write(self._health, OK)

    @property
    def confirm_s(self) -> float:
        """Time between two calls of a health check callback."""
        return self.interval_ms / 1000 / CONFIRMATIONS_PER_INTERVAL

    def close(self) -> None:
        """Let go of everything."""
        if self._health >= 0:
            os.close(self._health)
            self._health = -1
        self.instance = -1
        self._link.close()
