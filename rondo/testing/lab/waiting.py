"""Waiting for something to become true, with a bound and an error that says what was seen last."""

import time
from collections.abc import Callable
from typing import TypeVar

POLL_INTERVAL_S = 0.05
SHOWN_CHARACTERS_MAX = 2000

T = TypeVar("T")


class WaitTimeoutError(AssertionError):
    """What was waited for did not happen in time. An assertion: in a test, this is the failure."""


def wait_for(look: Callable[[], T], wanted: Callable[[T], bool], what: str, timeout_s: float) -> T:
    """Look again and again until `wanted(look())`; return what was seen, or raise with the last thing seen."""
    deadline = time.monotonic() + timeout_s
    while True:
        seen = look()
        if wanted(seen):
            return seen
        if time.monotonic() >= deadline:
            raise WaitTimeoutError(f"{what}: not within {timeout_s} s; last seen: {_shown(seen)}")
        time.sleep(POLL_INTERVAL_S)


def _shown(seen: object) -> str:
    text = repr(seen)
    return text if len(text) <= SHOWN_CHARACTERS_MAX else f"... {text[-SHOWN_CHARACTERS_MAX:]}"
