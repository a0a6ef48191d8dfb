"""An application's state as a client of SAM, and its requests. The basis of `rondo.sam` and `rondo.aio.sam`."""

import contextlib
import os
import signal
from enum import StrEnum
from typing import Any

from rondo._client import descriptors
from rondo._client.ask_link import TIMEOUT_S
from rondo._client.endpoint import endpoint_of
from rondo.errors import BadHandle, Exists, InvalidParameter
from rondo.protocol.sam_gateway import Op
from rondo.sam.link import SamLink

CONNECT_TIMEOUT_S = 5.0
INTERVAL_MS_MAX = 24 * 3600 * 1000
"""SAM takes no longer ones."""
CONFIRMATIONS_PER_INTERVAL = 4
"""How often in an interval a health check callback is called (as in Corosync)."""
OK = b"ok\n"


class Policy(StrEnum):
    """What follows the end of the application, and whether it may run without quorum."""

    RESTART = "restart"
    QUIT = "quit"
    QUORUM = "quorum"
    """Not a policy alone. It is combined with one: `Policy.RESTART | Policy.QUORUM` is QUORUM_RESTART."""
    QUORUM_RESTART = "quorum-restart"
    """`start` waits for quorum. When quorum is lost this instance is ended; the next is started when there is quorum
    again."""
    QUORUM_QUIT = "quorum-quit"
    """`start` waits for quorum. When quorum is lost this instance is ended, and is the last."""

    def __or__(self, other: "Policy") -> "Policy":
        """Combine a policy with QUORUM. Raises InvalidParameter."""
        if Policy.QUORUM not in (self, other) or not isinstance(other, Policy):
            raise InvalidParameter(f"only Policy.QUORUM can be added to a policy, not {other!r} to {self!r}")
        base = (other if self is Policy.QUORUM else self).removeprefix("quorum-")
        return self if base == Policy.QUORUM else Policy(f"quorum-{base}")

    @property
    def needs_quorum(self) -> bool:
        """True for the QUORUM policies."""
        return self in (Policy.QUORUM_RESTART, Policy.QUORUM_QUIT)


def policy_of(value: str) -> Policy:
    """The policy of this name that an application may have. Raises InvalidParameter."""
    allowed = [each for each in Policy if each is not Policy.QUORUM]
    if value not in allowed:
        names = ", ".join(each.name for each in allowed)
        raise InvalidParameter(f"policy: one of rondo.sam.Policy.{{{names}}}; not {value!r:.80}")
    return Policy(value)


class Client:
    """One application's connection to SAM. Blocking; nothing runs in the background."""

    def __init__(self, interval_ms: int, policy: Policy, endpoint: str | None, timeout: float | None) -> None:
        if type(interval_ms) is not int or not 0 <= interval_ms <= INTERVAL_MS_MAX:
            what = f"a number of milliseconds, 0 (no limit) to {INTERVAL_MS_MAX}"
            raise InvalidParameter(f"interval_ms: {what}; not {interval_ms!r:.80}")
        self._forks = descriptors.forks
        self.policy = policy_of(policy)
        self.interval_ms = interval_ms
        self.warn_signal = int(signal.SIGTERM)
        self.instance = -1
        """The number of this instance; -1: not registered."""
        self.id = ""
        self.is_started = False
        self._health = -1
        self._link = SamLink(endpoint_of(endpoint))
        try:
            self._link.ask(Op.HELLO, timeout=timeout)
        except BaseException:
            self._link.close()
            raise

        descriptors.inherit(self)

    @property
    def is_ours(self) -> bool:
        """Whether this process has made it, and not the one from which it was forked."""
        return self._forks == descriptors.forks

    def forsake(self) -> None:
        """In a child process: what is written there would say that the parent is healthy."""
        health, self._health = self._health, -1
        if health >= 0:
            os.close(health)

    def ask(self, op: Op, arguments: dict[str, Any] | None = None) -> Any:
        """Send a request that only a registered application may send."""
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

    def start(self) -> None:
        """See `rondo.sam.start`."""
        if self.instance < 0:
            raise BadHandle("register() comes first")
        self._link.ask(Op.START, timeout=None if self.policy.needs_quorum else TIMEOUT_S)
        self.is_started = True

    def warn_signal_set(self, number: int) -> None:
        """See `rondo.sam.warn_signal_set`."""
        if isinstance(number, bool) or not isinstance(number, int) or number not in signal.valid_signals():
            raise InvalidParameter(f"number: the number of a signal; not {number!r:.80}")
        if self.instance >= 0:
            self._link.ask(Op.WARN_SIGNAL, {"signal": int(number)})
        self.warn_signal = int(number)

    def health_check_send(self) -> None:
        """See `rondo.sam.health_check_send`."""
        if self._health < 0:
            raise BadHandle("register() comes first")
        # The pipe is full: SAM has not read it for long. It does not call an application hung that it did not listen
        # to.
        with contextlib.suppress(BlockingIOError):
            os.write(self._health, OK)

    @property
    def confirm_s(self) -> float:
        """Time between two calls of a health check callback."""
        return self.interval_ms / 1000 / CONFIRMATIONS_PER_INTERVAL

    def close(self) -> None:
        """Close the connection and the health descriptor."""
        if self._health >= 0:
            os.close(self._health)
            self._health = -1
        self.instance = -1
        self._link.close()
