"""How a client looks for a node that is away: when it tries to connect, and who tells it that the node is back.

Times are arguments: the tests go ahead of the clock, by which the socket says when it wants to connect again.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import rondo
import rondo.aio
from rondo._client import absence
from rondo._client.absence import (
    LONG_S,
    LOOK_S,
    LOOK_UNTOLD_S,
    LOOK_UNTOLD_S_MAX,
    QUICK_S,
    RETRY_MS,
    RETRY_MS_MAX,
    Absence,
)
from rondo._client.arrival import ARRIVALS
from rondo.ipc.local_dealer import LocalDealer
from rondo.ipc.local_router import LocalRouter

WAIT_S = 60.0


class Client:
    """A socket whose server is away, and the `Absence` that looks for it."""

    def __init__(self, directory: Path, *, is_told: bool = True) -> None:
        self.path = directory / "gateway.sock"
        self.told = threading.Semaphore(0)
        self.dealer = LocalDealer(self.url)
        self.absence = Absence(self.path if is_told else None, self.told.release)
        self.now_s = time.monotonic() + 1.0

    @property
    def url(self) -> str:
        return f"ipc://{self.path}"

    def has_connected(self) -> bool:
        return self.dealer.is_connected

    def look(self) -> float | None:
        """Look now, and let the time pass until the next look is due."""
        pause_s = self.absence.tend(self.dealer, self.now_s)
        self.now_s += pause_s or 0.0
        return pause_s

    def look_quickly(self) -> list[float]:
        """The intervals between looks, in ms, until they are long."""
        end_s, found = self.now_s + QUICK_S, []
        while self.now_s < end_s:
            pause_s = self.look()
            assert pause_s is not None
            found.append(round(pause_s * 1000, 3))
        return found

    def close(self) -> None:
        self.absence.end()
        self.dealer.close()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    made = Client(tmp_path)
    yield made
    made.close()


def test_it_looks_quickly_at_first_and_then_waits_to_be_told(client: Client) -> None:
    before = len(ARRIVALS)
    paces = client.look_quickly()
    assert paces[:3] == [RETRY_MS, 2 * RETRY_MS, 4 * RETRY_MS]
    assert paces[4:] == [RETRY_MS_MAX] * (len(paces) - 4)
    assert len(ARRIVALS) == before
    for _ in range(3):
        assert client.look() == pytest.approx(LOOK_S)
        assert len(ARRIVALS) == before + 1, "one watch, not one for each look"
    client.absence.end()
    assert len(ARRIVALS) == before


def test_where_nobody_tells_it_looks_now_and_then_and_later_less_often(tmp_path: Path) -> None:
    client = Client(tmp_path, is_told=False)
    began_s = client.now_s
    client.look_quickly()
    while client.now_s < began_s + LONG_S:
        assert client.look() == pytest.approx(LOOK_UNTOLD_S)
    assert client.look() == pytest.approx(LOOK_UNTOLD_S_MAX)
    client.close()


def test_it_connects_when_a_look_is_due_and_not_before(tmp_path: Path) -> None:
    client = Client(tmp_path, is_told=False)
    client.look_quickly()
    client.look()
    server = LocalRouter(client.url)
    assert client.absence.tend(client.dealer, client.now_s - LOOK_UNTOLD_S / 2) == pytest.approx(LOOK_UNTOLD_S / 2)
    assert not client.has_connected()
    assert client.look() is None
    assert client.has_connected()
    server.close()
    client.close()


def test_being_told_it_looks_at_once_and_quickly_again(client: Client) -> None:
    client.look_quickly()
    assert client.look() == pytest.approx(LOOK_S)
    at_s = client.now_s - LOOK_S / 2
    assert client.absence.tend(client.dealer, at_s) == pytest.approx(LOOK_S / 2)
    client.path.touch()  # the socket's file exists, and nobody serves it yet
    assert client.told.acquire(timeout=WAIT_S)
    assert client.absence.tend(client.dealer, at_s) == pytest.approx(RETRY_MS / 1000)
    client.path.unlink()
    server = LocalRouter(client.url)
    assert client.absence.tend(client.dealer, at_s + RETRY_MS / 1000) is None
    assert client.has_connected()
    server.close()


def test_the_next_absence_begins_quickly(client: Client) -> None:
    client.look_quickly()
    client.look()
    client.absence.end()
    again_s = client.now_s
    assert client.look() == pytest.approx(RETRY_MS / 1000)
    assert client.absence.since_s == again_s


def test_a_connected_client_has_nothing_to_look_for(client: Client) -> None:
    server = LocalRouter(client.url)
    assert client.look() is None
    assert client.has_connected()
    server.close()


def test_asyncio_waits_to_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absence, "QUICK_S", 0.1)
    url = f"ipc://{tmp_path}/gateway.sock"

    async def main() -> None:
        before = len(ARRIVALS)

        async def connect() -> None:
            await rondo.aio.connect(url, WAIT_S)

        connecting = asyncio.create_task(connect())
        while len(ARRIVALS) == before:
            await asyncio.sleep(0.001)
        server = LocalRouter(url)
        began_s = time.monotonic()
        while not server.receive():
            await asyncio.sleep(0.001)
        assert time.monotonic() - began_s < LOOK_S
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert len(ARRIVALS) == before
        server.close()

    asyncio.run(main())
