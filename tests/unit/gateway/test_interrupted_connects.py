"""Connecting and closing, ended by an exception of a signal handler at each place where Python runs handlers. Nothing
stays open, here or at the node."""

import asyncio
import contextlib
import dis
import functools
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, TypeVar

import pytest

import rondo
import rondo.aio
from rondo._client import ask_link
from rondo._client.aio_link import Link as AioLink
from rondo._client.descriptors import poll
from rondo._client.endpoint import Endpoint
from rondo._client.link import Handle, Link
from rondo._client.session import Session
from tests.unit.gateway.conftest import GatewayProcess, eventually
from tests.unit.gateway.loopback import Loopback

LONG_S = 60
SOON_S = 8
"""The gateway keeps a session for which nobody says goodbye for ten seconds."""
PLACES, EVERY = 480, 1
T = TypeVar("T")


class Alarm(BaseException):
    """What the handler raises."""


@functools.cache
def places_of(code: CodeType) -> frozenset[int]:
    """Offsets of the instructions before which Python looks for signals: behind a call, where a function begins, and
    jumps backward."""
    found, is_behind = set(), False
    for instruction in dis.get_instructions(code):
        if is_behind or "JUMP_BACKWARD" in instruction.opname:
            found.add(instruction.offset)
        is_behind = instruction.opname == "RESUME" or instruction.opname.startswith("CALL")
    return frozenset(found)


class Interrupter:
    """Raises in the thread that runs it, at the place of that number."""

    def __init__(self, place: int) -> None:
        self._left = place
        self.raised: Alarm | None = None

    def _trace(self, frame: FrameType, event: str, _argument: object) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode" and frame.f_lasti in places_of(frame.f_code):
            self._left -= 1
            if self._left < 0 and self.raised is None:
                self.raised = Alarm()
                raise self.raised  # and Python calls this no more
        return self._trace

    def run(self, function: Callable[[], T]) -> T | None:
        """What it returns, unless it was interrupted. The exception is kept, and so are all its frames."""
        sys.settrace(self._trace)
        try:
            return function()
        except Alarm:
            return None
        finally:
            sys.settrace(None)


@pytest.fixture(autouse=True)
def unraisable(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes up in a callback of the garbage collector is only printed, and would be kept with its frames."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _told: None)


def has_no_sessions(loopback: Loopback) -> bool:
    return not loopback.call(lambda: len(loopback.sessions))


def sockets() -> int:
    """How many are open."""
    found = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found += os.readlink(f"/proc/self/fd/{descriptor}").startswith(("socket:", "anon_inode:[eventpoll]"))
    return found


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_exception_at_any_place_of_a_connect_leaves_no_session_behind(
    loopback: Loopback, gateway: GatewayProcess
) -> None:
    gateway.connect().close()
    eventually(lambda: has_no_sessions(loopback))
    before = sockets()

    interrupted = 0
    for place in range(0, PLACES, EVERY):  # how many there are differs: who waits, waits as often as it takes
        interrupter = Interrupter(place)
        cluster = interrupter.run(gateway.connect)
        interrupted += interrupter.raised is not None
        if cluster is not None:
            cluster.close()
        eventually(lambda: has_no_sessions(loopback), SOON_S)
    assert interrupted > PLACES / EVERY / 2
    del interrupter
    gc.collect()
    eventually(lambda: sockets() <= before)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_exception_at_any_place_of_a_close_that_has_begun_does_not_keep_it_from_closing(
    loopback: Loopback, gateway: GatewayProcess
) -> None:
    """Although the application still has the connection, and its control connection too."""
    kept = []
    interrupted = 0
    for place in range(1, 32):  # at 0 nothing has begun
        kept.append(gateway.connect())
        interrupter = Interrupter(place)
        interrupter.run(kept[-1].close)
        interrupted += interrupter.raised is not None
    assert interrupted > 4
    eventually(lambda: has_no_sessions(loopback), SOON_S)


def test_a_welcome_that_an_exception_has_swallowed_leaves_no_session_behind(
    loopback: Loopback, gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was read from the socket, and nobody has seen it: the gateway has a session, and the client does not know."""
    swallowed: list[bytes] = []
    receive = Session.receive

    def swallow(session: Session, envelope: bytes) -> None:
        if swallowed:
            receive(session, envelope)
        swallowed.append(envelope)

    monkeypatch.setattr(Session, "receive", swallow)
    handle = Handle()
    link = Link(Endpoint(gateway.endpoint), "swallows", rondo.Request, handle)
    eventually(lambda: swallowed)
    with link.lock:
        link.is_torn = True
    link.close()
    eventually(lambda: has_no_sessions(loopback), SOON_S)


def test_a_signal_handler_may_close_while_its_thread_asks_the_node(
    loopback: Loopback, gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No control process answers here, so the request waits."""
    cluster = gateway.connect()
    main = threading.main_thread().ident
    assert main is not None
    told = []
    asks = threading.Event()

    def ask_again_and_close(_number: int, _frame: FrameType | None) -> None:
        with pytest.raises(rondo.Interrupted):
            cluster.nodes()
        cluster.close()
        told.append("closed")

    def poll_and_tell(timeout_s: float | None, *descriptors: int) -> list[int]:
        asks.set()
        return poll(timeout_s, *descriptors)

    def signal_when_it_asks() -> None:
        assert asks.wait(LONG_S)
        time.sleep(0.3)  # until it waits for the answer
        signal.pthread_kill(main, signal.SIGUSR1)

    monkeypatch.setattr(ask_link, "poll", poll_and_tell)
    previous = signal.signal(signal.SIGUSR1, ask_again_and_close)
    thread = threading.Thread(target=signal_when_it_asks)
    thread.start()
    try:
        with pytest.raises(rondo.BadHandle, match="closed"):
            cluster.nodes(LONG_S)
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, previous)
    assert told
    with pytest.raises(rondo.BadHandle, match="closed"):
        cluster.quorum.status()
    with pytest.raises(rondo.BadHandle, match="closed"):
        next(iter(cluster.quorum.watch()))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_exception_in_the_callback_for_a_forgotten_connection_of_asyncio(
    loopback: Loopback, gateway: GatewayProcess
) -> None:
    """Where it begins, before it has done anything. Python prints it, and that is all; the loop closes all the same."""
    came_up = []

    def interrupt(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code is AioLink.warn_unclosed.__code__:
            came_up.append(event)
            raise Alarm

    async def forget() -> None:
        cluster = await rondo.aio.connect(gateway.endpoint, LONG_S)
        sys.setprofile(interrupt)
        try:
            del cluster
        finally:
            sys.setprofile(None)
        assert came_up
        deadline_s = time.monotonic() + SOON_S
        while not has_no_sessions(loopback):
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.01)

    asyncio.run(forget())
