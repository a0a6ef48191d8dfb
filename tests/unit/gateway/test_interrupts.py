"""Calls that end by an exception out of a signal handler, or are cancelled, at any place: the connection goes on, and
nothing is lost or doubled. `make interrupts` does it a hundred thousand times."""

import asyncio
import contextlib
import gc
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

import rondo
import rondo.aio
from tests.unit.gateway.conftest import GatewayProcess
from tests.unit.gateway.loopback import Loopback

COUNT = int(os.environ.get("RONDO_INTERRUPTS", "1000"))
LONG_S = 60
DELAY_S_MAX = 0.0006
LIBRARY = os.path.dirname(rondo.__file__) + os.sep


class Alarm(BaseException):
    """What the handler raises."""


@pytest.fixture
def alarm() -> Iterator[Callable[[float], None]]:
    """Sets the alarm: so many seconds from now the main thread gets `Alarm`; and again, until it is set to 0, because
    Python only prints what comes up while an iterator is thrown away."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise Alarm

    previous = signal.signal(signal.SIGALRM, ring)
    yield lambda delay_s: signal.setitimer(signal.ITIMER_REAL, delay_s, 5 if delay_s else 0) and None
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, previous)


class Calls:
    """Every call of the client, at random; and what has come of it."""

    def __init__(self, cluster: rondo.Cluster, seed: int) -> None:
        self.cluster = cluster
        self.group = cluster.cpg.join("interrupts", LONG_S)
        self.random = random.Random(seed)
        self.events: list[rondo.Event | None] = []
        self.begun = -1
        self.returned: set[int] = set()
        self.request: rondo.Request | None = None
        self.other: rondo.Group | None = None

    def mcast(self) -> None:
        self.begun += 1
        self.request = self.group.mcast(b"%d" % self.begun)
        self.returned.add(self.begun)

    def wait(self) -> None:
        if self.request is not None:
            self.random.choice((self.request.accepted, self.request.ordered))(LONG_S)

    def groups(self) -> None:
        self.cluster.cpg.groups(LONG_S)

    def join_or_leave(self) -> None:
        if self.other is None:
            self.other = self.cluster.cpg.join("other", LONG_S)
        else:
            other, self.other = self.other, None
            other.leave(LONG_S)

    def poll(self) -> None:
        # Taken and kept, with no place for a handler in between.
        self.events.append(self.group.poll(0.001))

    def iterate(self) -> None:
        for event in self.group:
            self.events.append(event)
            return

    def one(self) -> None:
        """One of them. Iterating waits for ever, so there has to be something to come."""
        if self.random.random() < 0.1:
            self.mcast()
            self.iterate()
        else:
            self.random.choice((self.mcast, self.mcast, self.wait, self.groups, self.poll, self.join_or_leave))()

    def messages(self) -> list[int]:
        return [int(event.data) for event in self.events if isinstance(event, rondo.Message)]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_an_exception_out_of_a_signal_handler_at_any_place(
    loopback: Loopback, gateway: GatewayProcess, alarm: Callable[[float], None]
) -> None:
    with gateway.connect() as cluster:
        calls = Calls(cluster, 1)
        alarms = 0
        while alarms < COUNT:
            try:
                alarm(calls.random.random() * DELAY_S_MAX + 1e-6)
                while True:
                    with contextlib.suppress(rondo.NotExist, rondo.Exists):  # an interrupted leave or join was done
                        calls.one()
            except Alarm:
                alarm(0)
                alarms += 1
        # All is as before: what was sent comes, and no call hangs.
        last = calls.group.mcast(b"-1")
        last.ordered(LONG_S)
        while not calls.messages() or calls.messages()[-1] != -1:
            calls.events.append(calls.group.poll(LONG_S))
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 1
    found = calls.messages()[:-1]
    assert found == sorted(set(found)), "out of order, or doubled"
    assert calls.returned <= set(found), "lost"
    assert not any(isinstance(event, rondo.Disconnected | rondo.UnknownOutcome) for event in calls.events)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_an_exception_while_connecting_or_closing_leaves_nothing_behind(
    loopback: Loopback, gateway: GatewayProcess, alarm: Callable[[float], None]
) -> None:
    gateway.connect().close()
    gc.collect()
    before = _descriptors()
    _interrupt_connects(gateway, alarm, max(50, COUNT // 100))
    end_s = time.monotonic() + LONG_S
    while _descriptors() > before or loopback.call(lambda: len(loopback.sessions)):
        assert time.monotonic() < end_s
        gc.collect()  # the exceptions have frames, and these what was interrupted
        time.sleep(0.01)
    with gateway.connect() as cluster:
        assert cluster.cpg.join("g", LONG_S).members


def _descriptors() -> int:
    """How many are open, without eventfds: the library keeps a few of these for the next connection."""
    count = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(f"/proc/self/fd/{descriptor}") != "anon_inode:[eventfd]"
    return count


def _interrupt_connects(gateway: GatewayProcess, alarm: Callable[[float], None], count: int) -> None:
    """In a frame of its own, so that nothing refers to the last connection once it is over. What was interrupted ends
    in the background, and may be a member for a while yet."""
    randomness = random.Random(1)
    for _ in range(count):
        with contextlib.suppress(Alarm, rondo.Exists):
            try:
                alarm(randomness.random() * 0.008 + 1e-6)
                with gateway.connect() as cluster:
                    cluster.cpg.join("g", LONG_S)
            finally:
                alarm(0)  # here, as it may come until now


def test_more_signals_while_the_first_is_dealt_with(loopback: Loopback, gateway: GatewayProcess) -> None:
    """In such short intervals that some come while an interrupted call is being left. Only the library is hit."""

    def ring(_number: int, frame: FrameType | None) -> None:
        if frame is not None and frame.f_code.co_filename.startswith(LIBRARY) and frame.f_code.co_name != "__del__":
            raise Alarm

    previous = signal.signal(signal.SIGALRM, ring)
    try:
        with gateway.connect() as cluster:
            calls = Calls(cluster, 2)
            alarms = 0
            signal.setitimer(signal.ITIMER_REAL, 1e-4, 3e-4)
            while alarms < COUNT // 4:
                try:
                    calls.mcast()
                    calls.poll()
                except Alarm:
                    alarms += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            calls.group.mcast(b"-1").ordered(LONG_S)
            while not calls.messages() or calls.messages()[-1] != -1:
                calls.events.append(calls.group.poll(LONG_S))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    found = calls.messages()[:-1]
    assert found == sorted(set(found))
    assert calls.returned <= set(found)


def test_cancellation_at_any_place(loopback: Loopback, gateway: GatewayProcess) -> None:
    asyncio.run(_cancel(gateway.endpoint))


async def _cancel(endpoint: str) -> None:
    randomness = random.Random(3)
    events: list[rondo.Event] = []
    sent: set[int] = set()
    begun = 0
    async with rondo.aio.connect(endpoint, LONG_S) as cluster:
        group = await cluster.cpg.join("cancelled")

        async def mcast() -> None:
            nonlocal begun
            number, begun = begun, begun + 1
            request = await group.mcast(b"%d" % number)
            sent.add(number)
            if randomness.random() < 0.3:
                await request.ordered(LONG_S)

        async def poll() -> None:
            if (event := await group.poll(0.01)) is not None:
                events.append(event)

        async def iterate() -> None:
            async for event in group:
                events.append(event)  # noqa: PERF401 - what was taken before it is cancelled counts

        async def ask() -> None:
            await cluster.cpg.groups(LONG_S)

        async def join() -> None:
            with contextlib.suppress(rondo.Exists):
                await (await cluster.cpg.join("other", LONG_S)).leave(LONG_S)

        for _ in range(COUNT):
            task = asyncio.create_task(randomness.choice((mcast, mcast, poll, iterate, ask, join))())
            for _ in range(randomness.randrange(4)):
                await asyncio.sleep(0)
            if randomness.random() < 0.1:
                await asyncio.sleep(randomness.random() * 0.002)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await (await group.mcast(b"-1")).ordered(LONG_S)
        while not events or not isinstance(events[-1], rondo.Message) or events[-1].data != b"-1":
            await poll()
    found = [int(event.data) for event in events if isinstance(event, rondo.Message)][:-1]
    assert found == sorted(set(found))
    assert sent <= set(found)
