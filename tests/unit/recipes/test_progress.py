"""An application is told how much of the state has come while it comes, and may show it where it has a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

import rondo
from rondo.recipes import StateMachine
from rondo.testing import Loopback
from rondo.testing.lab.waiting import wait_for

COMMANDS, COMMAND_BYTES = 40, 50_000
SECONDS = 60.0


class Log(StateMachine):
    """Commands, one after the other; its snapshot has a piece for each."""

    def __init__(self, cluster: Any) -> None:
        self.commands: list[bytes] = []
        self.came: list[tuple[int, int]] = []
        super().__init__(cluster, "log")

    def apply(self, command: bytes) -> bytes:
        self.commands.append(command)
        return b""

    def snapshot(self) -> Iterable[bytes]:
        return list(self.commands)

    def restore(self, pieces: Iterable[bytes]) -> None:
        self.commands = list(pieces)

    def progress(self, pieces: int, bytes_come: int) -> None:
        self.came.append((pieces, bytes_come))


@pytest.fixture(name="loopback")
def _loopback() -> Iterator[Loopback]:
    made = Loopback(nodes=2)
    yield made
    with made.condition:
        for session in list(made.network.sessions):
            session.end(rondo.Disconnected("the test is over"))


def test_who_joins_is_told_how_much_of_the_state_has_come(loopback: Loopback) -> None:
    with Log(loopback.connect(1)) as first:
        for number in range(COMMANDS):
            first.do(number.to_bytes(2, "big") * (COMMAND_BYTES // 2))
        assert first.came == [], "the first one begins with nothing"
        with Log(loopback.connect(2)) as second:
            assert second.local(lambda: len(second.commands)) == COMMANDS
            whole = COMMANDS * COMMAND_BYTES
            came = wait_for(
                lambda: list(second.came), lambda each: bool(each) and each[-1][1] >= whole, "all of it", SECONDS
            )
            assert len(came) > 1
            assert came == sorted(came)
