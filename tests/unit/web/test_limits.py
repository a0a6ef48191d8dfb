"""A connection whose other end reads nothing is ended, whether more is written to it or it is being closed."""

import asyncio
from collections.abc import Callable
from typing import cast

import uvicorn
from uvicorn.server import ServerState

from services.web import limits


class Transport(asyncio.Transport):
    """What waits for the other end to read is what a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.unread_bytes = 0
        self.is_aborted = False

    def get_write_buffer_size(self) -> int:
        return self.unread_bytes

    def abort(self) -> None:
        self.is_aborted = True


class Clock:
    """A loop, as far as the protocol looks at it: keeps what is due after `LOOK_S`."""

    def __init__(self) -> None:
        self.due: list[Callable[[], object]] = []

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> asyncio.TimerHandle | None:
        if delay_s == limits.LOOK_S and callback.__name__ == "_look":
            self.due.append(callback)
        return None

    def look(self) -> None:
        """So much time passes."""
        self.due.pop()()


def made() -> tuple[Transport, Clock, limits.BoundedProtocol]:
    async def app(_scope: object, _receive: object, _send: object) -> None: ...

    transport, clock = Transport(), Clock()
    loop = cast("asyncio.AbstractEventLoop", clock)
    protocol = limits.BoundedProtocol(uvicorn.Config(app, log_config=None), ServerState(), {}, loop)
    protocol.connection_made(transport)
    return transport, clock, protocol


def test_who_reads_nothing_is_ended_in_time() -> None:
    transport, clock, _ = made()
    transport.unread_bytes = 10
    for _ in range(int(limits.UNREAD_S / limits.LOOK_S) - 1):
        clock.look()
        assert not transport.is_aborted
    for _ in range(2):
        if not transport.is_aborted:
            clock.look()
    assert transport.is_aborted
    assert not clock.due


def test_who_reads_a_little_goes_on() -> None:
    transport, clock, _ = made()
    for unread_bytes in (50, 40, 30, 20, 10, 5):
        transport.unread_bytes = unread_bytes
        clock.look()
    assert not transport.is_aborted


def test_who_has_made_room_goes_on_although_as_much_waits_again() -> None:
    transport, clock, protocol = made()
    transport.unread_bytes = 65_536
    protocol.pause_writing()
    for _ in range(6):
        protocol.resume_writing()
        protocol.pause_writing()
        clock.look()
    assert not transport.is_aborted


def test_an_idle_connection_is_not_this_rule_s() -> None:
    transport, clock, _ = made()
    for _ in range(6):
        clock.look()
    assert not transport.is_aborted
