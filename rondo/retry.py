"""`rondo.RetryPolicy`: how often, and at which intervals, a call is repeated.

    policy = rondo.RetryPolicy(attempts=10, deadline_s=20)
    cluster = rondo.connect(retry=policy)
    policy.call(group.mcast, b"deposit 10", timeout=0)

A policy is immutable, so one serves any number of calls and threads. The pauses grow by `factor` up to `max_delay_s`.
Each is shortened by a random part of up to `jitter`, so that callers who failed together do not retry together.
"""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import ParamSpec, TypeVar

from rondo.errors import Busy, InvalidParameter, NotInitialized, TryAgain

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Which errors are retried, and when. Raises InvalidParameter for invalid values."""

    attempts: int | None = None
    """The number of attempts, including the first; None: as many as the time allows."""
    first_delay_s: float = 0.05
    factor: float = 2.0
    max_delay_s: float = 2.0
    jitter: float = 0.5
    deadline_s: float | None = 30.0
    """No attempt begins later than this after the first. None: no limit. An attempt itself may take longer."""
    on: tuple[type[BaseException], ...] = (TryAgain, Busy, NotInitialized)
    """The errors after which a call is repeated. The default are those after which certainly nothing was done. After a
    `Timeout` a message may yet be delivered."""

    def __post_init__(self) -> None:
        attempts = self.attempts
        if attempts is not None and not (type(attempts) is int and attempts >= 1):
            raise InvalidParameter(f"attempts: a number from 1 on, or None; not {attempts!r}")
        for name in ("first_delay_s", "factor", "max_delay_s", "jitter"):
            _check(name, getattr(self, name), 1.0 if name == "factor" else 0.0, 1.0 if name == "jitter" else math.inf)
        if self.deadline_s is not None:
            _check("deadline_s", self.deadline_s, 0.0, math.inf)
        if not isinstance(self.on, tuple) or not all(isinstance(e, type) and issubclass(e, Exception) for e in self.on):
            raise InvalidParameter(f"on: a tuple of exceptions; not {self.on!r}")

    def retrying_on(self, *errors: type[Exception]) -> "RetryPolicy":
        """A copy for these errors."""
        return replace(self, on=errors)

    def delays(self, draw: Callable[[], float] = random.random) -> Iterator[float]:
        """The pauses between attempts, in seconds, as `attempts` allows. `draw` gives random numbers from 0 up to 1."""
        delay_s, left = self.first_delay_s, self.attempts
        while left is None or left > 1:
            yield delay_s * (1 - self.jitter * draw())
            delay_s = min(delay_s * self.factor, self.max_delay_s)
            left = None if left is None else left - 1

    def call(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Call `function` and return its result. While it raises one of `on` and there is time, repeat it after a
        pause. Raises the error of the last attempt."""
        pauses, end_s = self.delays(), self._end_s()
        while True:
            try:
                return function(*arguments, **named)
            except self.on:
                pause_s = self._pause_s(pauses, end_s)
                if pause_s is None:
                    raise
            time.sleep(pause_s)

    async def call_async(self, function: Callable[P, Awaitable[T]], *arguments: P.args, **named: P.kwargs) -> T:
        """The same for an awaitable call."""
        pauses, end_s = self.delays(), self._end_s()
        while True:
            try:
                return await function(*arguments, **named)
            except self.on:
                pause_s = self._pause_s(pauses, end_s)
                if pause_s is None:
                    raise
            await asyncio.sleep(pause_s)

    def _end_s(self) -> float:
        return math.inf if self.deadline_s is None else time.monotonic() + self.deadline_s

    def _pause_s(self, pauses: Iterator[float], end_s: float) -> float | None:
        """The next pause; None if no attempt or no time is left."""
        pause_s = next(pauses, None)
        return None if pause_s is None or time.monotonic() + pause_s > end_s else pause_s


def _check(name: str, value: float, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        bounds = f"from {least:g} to {most:g}" if most != math.inf else f"from {least:g} on"
        raise InvalidParameter(f"{name}: a number {bounds}; not {value!r}")
