"""A ring of three nodes in this process, for the recipes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import rondo
from rondo.testing import Loopback

WAIT_S = 60.0


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    """The ring. Its sessions end with the test, so that nothing waits for ever."""
    made = Loopback(nodes=3)
    yield made
    with made.condition:
        for session in list(made.network.sessions):
            session.end(rondo.Disconnected("the test is over"))


def cluster_on(loopback: Loopback, node: int = 1) -> Any:
    """As rondo.connect() would give it."""
    return loopback.connect(node)


def eventually(true: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    end_s = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end_s, "not in time"
        threading.Event().wait(0.005)
