"""`rondo.RetryPolicy`, without any node but for one that is not there."""

import asyncio
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import rondo
import rondo.aio
from rondo.retry import RetryPolicy


class Clock:
    """A clock that advances only during sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        self.slept_s: list[float] = []
        clock = SimpleNamespace(monotonic=lambda: self.now_s, sleep=self.sleep)
        monkeypatch.setattr("rondo.retry.time", clock)
        monkeypatch.setattr("rondo.retry.asyncio", SimpleNamespace(sleep=self.sleep_async))

    def sleep(self, pause_s: float) -> None:
        self.slept_s.append(pause_s)
        self.now_s += pause_s

    async def sleep_async(self, pause_s: float) -> None:
        self.sleep(pause_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def failing(times: int, error: type[Exception] = rondo.TryAgain) -> Callable[[str], str]:
    """A function that raises a number of times, and then returns its argument."""
    count = itertools.count(1)

    def function(argument: str) -> str:
        if next(count) <= times:
            raise error
        return argument

    return function


def test_pauses_grow_up_to_the_longest(clock: Clock) -> None:
    policy = RetryPolicy(attempts=6, first_delay_s=1, factor=3, max_delay_s=10, jitter=0, deadline_s=None)
    assert policy.call(failing(5), "done") == "done"
    assert clock.slept_s == [1, 3, 9, 10, 10]


def test_after_the_last_attempt_its_error_is_raised(clock: Clock) -> None:
    with pytest.raises(rondo.TryAgain):
        RetryPolicy(attempts=3).call(failing(3), "done")
    assert len(clock.slept_s) == 2
    with pytest.raises(rondo.TryAgain):
        RetryPolicy(attempts=1).call(failing(1), "done")


def test_no_attempt_begins_after_the_deadline(clock: Clock) -> None:
    policy = RetryPolicy(first_delay_s=1, factor=1, max_delay_s=1, jitter=0, deadline_s=3.5)
    with pytest.raises(rondo.TryAgain):
        policy.call(failing(100), "done")
    assert clock.slept_s == [1, 1, 1]


def test_only_what_was_certainly_not_done_is_tried_again_unless_told(clock: Clock) -> None:
    perhaps_done: tuple[type[Exception], ...] = (rondo.Timeout, rondo.Disconnected, rondo.Exists, ValueError)
    not_done: tuple[type[Exception], ...] = (rondo.TryAgain, rondo.Busy, rondo.NotInitialized)
    for error in perhaps_done:
        with pytest.raises(error):
            RetryPolicy().call(failing(1, error), "done")
        assert RetryPolicy().retrying_on(error).call(failing(1, error), "done") == "done"
    for error in not_done:
        assert RetryPolicy().call(failing(1, error), "done") == "done"


def test_the_same_is_awaited(clock: Clock) -> None:
    function = failing(2)

    async def awaited(argument: str) -> str:
        return function(argument)

    assert asyncio.run(RetryPolicy(jitter=0).call_async(awaited, "done")) == "done"
    assert clock.slept_s == [0.05, 0.1]


def test_jitter_takes_off_a_random_part() -> None:
    policy = RetryPolicy(attempts=4, first_delay_s=1, factor=1, jitter=0.25)
    assert list(policy.delays(iter((0.0, 0.5, 1.0)).__next__)) == [1.0, 0.875, 0.75]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attempts", 0), ("attempts", 1.5), ("attempts", True), ("first_delay_s", -1), ("first_delay_s", math.nan),
        ("factor", 0.5), ("max_delay_s", "2"), ("jitter", 1.1), ("deadline_s", -1), ("on", rondo.Timeout),
        ("on", (5,)),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(rondo.InvalidParameter, match=name):
        RetryPolicy(**{name: value})  # type: ignore[arg-type]


def test_a_connect_is_tried_again_by_a_policy(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path / 'nobody.sock'}"
    tried = []

    class Counted(RetryPolicy):
        """A policy that counts how often it was asked."""

        def delays(self, *arguments: Callable[[], float]) -> "itertools.count[float]":
            tried.append("call")
            return itertools.count(0.001, 0.001)

    policy = Counted(deadline_s=0.05)
    with pytest.raises(rondo.Timeout):
        rondo.connect(endpoint, 0.001, retry=policy)
    with pytest.raises(rondo.Timeout):
        asyncio.run(_connect(endpoint, policy))
    assert tried == ["call", "call"]
    with pytest.raises(rondo.InvalidParameter, match="retry"):
        rondo.connect(endpoint, retry=5)  # type: ignore[arg-type]
    with pytest.raises(rondo.InvalidParameter, match="retry"):
        rondo.aio.connect(endpoint, retry=5)  # type: ignore[arg-type]


async def _connect(endpoint: str, policy: RetryPolicy) -> None:
    await rondo.aio.connect(endpoint, 0.001, retry=policy)
