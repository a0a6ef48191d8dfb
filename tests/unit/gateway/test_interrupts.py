"""Calls that end by an exception out of a signal handler, or are cancelled, at any place: the connection goes on, and
nothing is lost, doubled or left behind. `make interrupts` does it a hundred thousand times."""

import asyncio
import contextlib
import dis
import gc
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

import rondo
import rondo.aio
from rondo._client.connection import Cluster
from rondo._client.endpoint import Endpoint
from rondo._client.link import Handle, Link
from rondo._client.outcome import Request
from rondo.ipc.local_dealer import LocalDealer
from tests.unit.gateway.conftest import GatewayProcess, eventually
from tests.unit.gateway.loopback import Loopback

COUNT = int(os.environ.get("RONDO_INTERRUPTS", "1000"))
LONG_S = 60
DELAY_S_MAX = 0.0006
LIBRARY = os.path.dirname(rondo.__file__) + os.sep
AGAIN_S = 0.05
"""Python only prints what comes up while an iterator is thrown away. So much later there is another exception."""
TAKE_EVERY = 20
"""Of the interrupts: then all is taken that has come, or the node would cut this client off some day."""
TENTH = max(1, COUNT // 10)
UNACKNOWLEDGED_MAX = 20
GROWTH_BYTES_MAX = 8 * 1024 * 1024
GROWTH_OBJECTS_MAX = 500


class Alarm(BaseException):
    """What the handler raises."""


@pytest.fixture(autouse=True)
def unraisable(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python can only print is not kept until the end of the test, with all that its frames refer to."""
    former = sys.unraisablehook

    def hook(told: "sys.UnraisableHookArgs") -> None:
        if not isinstance(told.exc_value, Alarm):
            former(told)

    monkeypatch.setattr(sys, "unraisablehook", hook)


@pytest.fixture
def alarm() -> Iterator[Callable[[float], None]]:
    """Sets the alarm: so many seconds from now the main thread gets `Alarm`, and again until it is set to 0. In the
    functions of this module that set it nothing is raised: they would not know whether it is set."""

    def ring(_number: int, frame: FrameType | None) -> None:
        if frame is None or frame.f_code not in SETTERS:
            raise Alarm

    def set_alarm(delay_s: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, delay_s, AGAIN_S if delay_s else 0)

    # Two may come while neither was looked at: the second then finds the handler of the first.
    SETTERS.update((ring.__code__, set_alarm.__code__))
    previous = signal.signal(signal.SIGALRM, ring)
    yield set_alarm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, previous)


class Growth:
    """Looks each tenth of the way whether anything grows, and says how far it is."""

    def __init__(self, loopback: Loopback) -> None:
        self._loopback = loopback
        self._began_s = time.monotonic()
        self._first: tuple[int, int] | None = None
        self._peak_bytes = 0
        """Of memory, in the first half: what waits at once differs from tenth to tenth, and Python keeps its pages."""

    def look(self, count: int) -> None:
        """After `count`, when everything was taken. What the other side keeps for tests is thrown away first."""
        self._loopback.call(self._loopback.taken.clear)
        self._loopback.call(self._loopback.closed.clear)
        eventually(lambda: self._loopback.call(self._unacknowledged) <= UNACKNOWLEDGED_MAX)
        gc.collect()
        pages = int(_read("/proc/self/statm").split()[1])
        descriptors = _descriptors()
        now, memory_bytes = (len(descriptors), len(gc.get_objects())), pages * os.sysconf("SC_PAGE_SIZE")
        print(
            f"  {count:7,} of {COUNT:,} after {time.monotonic() - self._began_s:4.0f} s: "
            f"{now[0]} descriptors, {now[1]:,} objects, {memory_bytes >> 10:,} KiB",
            flush=True,
        )
        if self._first is None:
            self._first = now
        grown = [each - first for each, first in zip(now, self._first, strict=True)]
        assert grown[0] <= 0, "\n".join(descriptors)
        assert grown[1] < GROWTH_OBJECTS_MAX, "objects"
        if count <= COUNT // 2:
            self._peak_bytes = max(self._peak_bytes, memory_bytes)
        assert memory_bytes - self._peak_bytes < GROWTH_BYTES_MAX, "memory"

    def _unacknowledged(self) -> int:
        return sum(len(session.outstanding) for session in self._loopback.sessions.values())


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


class Numbers:
    """What was sent, and what has come of it: in order, each once, and none missing that a call has returned for."""

    def __init__(self) -> None:
        self.begun = -1
        self.returned: set[int] = set()
        self._last = -1

    def judge(self, events: list[rondo.Event | None]) -> bool:
        """Whether these are right; what is judged is forgotten. True once the last message, -1, was among them."""
        for event in events:
            assert not isinstance(event, rondo.Disconnected | rondo.UnknownOutcome)
            if isinstance(event, rondo.Message):
                number = int(event.data)
                if number == -1:
                    assert not self.returned, "lost"
                    return True
                assert number > self._last, "out of order, or doubled"
                self._last = number
                self.returned.discard(number)
        assert not self.returned or min(self.returned) > self._last, "lost"
        events.clear()
        return False


class Calls:
    """Every call of the client, at random; and what has come of it."""

    def __init__(self, cluster: rondo.Cluster, seed: int) -> None:
        self.cluster = cluster
        self.group = cluster.cpg.join("interrupts", LONG_S)
        self.random = random.Random(seed)
        self.events: list[rondo.Event | None] = []
        self.numbers = Numbers()
        self.request: rondo.Request | None = None
        self.other: rondo.Group | None = None

    def mcast(self) -> None:
        self.numbers.begun += 1
        self.request = self.group.mcast(b"%d" % self.numbers.begun)
        self.numbers.returned.add(self.numbers.begun)

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

    def take_all(self) -> None:
        """What was sent has come, and is right."""
        self.mcast()
        assert self.request is not None
        self.request.ordered(LONG_S)
        while (event := self.group.poll(0)) is not None:
            self.events.append(event)
        assert not self.numbers.judge(self.events)

    def one(self) -> None:
        """One of them. Iterating waits for ever, so there has to be something to come."""
        if self.random.random() < 0.1:
            self.mcast()
            self.iterate()
        else:
            self.random.choice((self.mcast, self.mcast, self.wait, self.groups, self.poll, self.join_or_leave))()

    def finish(self) -> None:
        """All is as before: what was sent comes, and no call hangs."""
        self.group.mcast(b"-1").ordered(LONG_S)
        while not self.numbers.judge(self.events):
            self.events.append(self.group.poll(LONG_S))


def interrupted(calls: Calls, alarm: Callable[[float], None]) -> None:
    """Calls until one of them is interrupted."""
    try:
        alarm(calls.random.random() * DELAY_S_MAX + 1e-6)
        while True:
            with contextlib.suppress(rondo.NotExist, rondo.Exists):  # an interrupted leave or join was done
                calls.one()
    except Alarm:
        alarm(0)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_exception_out_of_a_signal_handler_at_any_place(
    loopback: Loopback, gateway: GatewayProcess, alarm: Callable[[float], None]
) -> None:
    with gateway.connect() as cluster:
        calls, growth = Calls(cluster, 1), Growth(loopback)
        for alarms in range(1, COUNT + 1):
            interrupted(calls, alarm)
            if alarms % TAKE_EVERY == 0:
                calls.take_all()
            if alarms % TENTH == 0:
                growth.look(alarms)
        calls.finish()
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 10, "it hangs"


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_exception_while_connecting_or_closing_leaves_nothing_behind(
    loopback: Loopback, gateway: GatewayProcess, alarm: Callable[[float], None]
) -> None:
    gateway.connect().close()
    gc.collect()
    before = _descriptors()
    _interrupt_connects(gateway, alarm, max(50, COUNT // 100))
    end_s = time.monotonic() + LONG_S
    while len(_descriptors()) > len(before) or loopback.call(lambda: len(loopback.sessions)):
        assert time.monotonic() < end_s
        gc.collect()  # the exceptions have frames, and these what was interrupted
        time.sleep(0.01)
    with gateway.connect() as cluster:
        assert cluster.cpg.join("g", LONG_S).members


def _descriptors() -> list[str]:
    """What is open, without eventfds: the library keeps a few of these for the next connection."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return sorted(each for each in found if each != "anon_inode:[eventfd]")


def _interrupt_connects(gateway: GatewayProcess, alarm: Callable[[float], None], count: int) -> None:
    """In a frame of its own, so that nothing refers to the last connection once it is over. What was interrupted ends
    in the background, and may be a member for a while yet."""
    randomness = random.Random(1)
    for _ in range(count):
        try:
            alarm(randomness.random() * 0.008 + 1e-6)
            with contextlib.suppress(rondo.Exists), gateway.connect() as cluster:
                cluster.cpg.join("g", LONG_S)
            alarm(0)
        except Alarm:
            alarm(0)


SETTERS = {interrupted.__code__, _interrupt_connects.__code__}


def test_an_exception_in_the_callback_of_the_garbage_collector_keeps_no_connection_open(
    loopback: Loopback, gateway: GatewayProcess
) -> None:
    """Where it begins, before it has done anything. Python prints such an exception, and that is all."""
    cluster = gateway.connect()
    came_up = []

    def interrupt(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code is Link.warn_unclosed.__code__:
            came_up.append(event)
            raise Alarm

    sys.setprofile(interrupt)
    try:
        del cluster
    finally:
        sys.setprofile(None)
    assert came_up
    eventually(lambda: not loopback.call(lambda: len(loopback.sessions)), 20)


def test_an_exception_where_a_wait_begins_again_has_the_worker_read(
    loopback: Loopback, gateway: GatewayProcess
) -> None:
    """The worker sleeps without end while the main thread reads, and has to be told that it does no longer."""
    jumps = [each.offset for each in dis.get_instructions(Link.wait) if "JUMP_BACKWARD" in each.opname]
    backward = {*jumps, *(offset - 2 for offset in jumps)}  # a long one is traced where its EXTENDED_ARG is
    handle = Handle()
    link = Link(Endpoint(gateway.endpoint), "reader", Request, handle)
    with Cluster(link, handle) as cluster:
        group = cluster.cpg.join("g", LONG_S)
        while group.poll(0.1) is not None:
            pass

        def speak() -> None:
            eventually(lambda: link.is_deep and not link.reads)
            group.mcast(b"comes back, and wakes the main thread")

        def trace(frame: FrameType, event: str, _argument: object) -> Any:
            if frame.f_code is not Link.wait.__code__:
                return None
            frame.f_trace_opcodes = True
            if event == "opcode" and frame.f_lasti in backward:
                raise Alarm
            return trace

        thread = threading.Thread(target=speak)
        thread.start()
        sys.settrace(trace)
        try:
            with pytest.raises(Alarm):
                group.poll(LONG_S)
        finally:
            sys.settrace(None)
            thread.join()
        eventually(lambda: link.session.groups["g"].queue, 20)


def test_more_signals_while_the_first_is_dealt_with(loopback: Loopback, gateway: GatewayProcess) -> None:
    """In such short intervals that some come while an interrupted call is being left. Only the library is hit."""

    def ring(_number: int, frame: FrameType | None) -> None:
        if frame is not None and frame.f_code.co_filename.startswith(LIBRARY) and frame.f_code.co_name != "__del__":
            raise Alarm

    previous = signal.signal(signal.SIGALRM, ring)
    try:
        with gateway.connect() as cluster:
            calls, growth = Calls(cluster, 2), Growth(loopback)
            for tenth in range(1, 11):
                alarms = 0
                signal.setitimer(signal.ITIMER_REAL, 1e-4, 3e-4)
                while alarms < TENTH // 4:
                    try:
                        calls.mcast()
                        calls.poll()
                    except Alarm:
                        alarms += 1
                signal.setitimer(signal.ITIMER_REAL, 0)
                calls.take_all()
                growth.look(tenth * TENTH)
            calls.finish()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_a_session_that_the_gateway_has_at_a_former_connection_comes_back(
    loopback: Loopback, gateway: GatewayProcess
) -> None:
    """Two connections in a row, the hello of the first read last: what comes on the second has no session there."""
    handle = Handle()
    link = Link(Endpoint(gateway.endpoint), "displaced", Request, handle)
    with Cluster(link, handle) as cluster:
        group = cluster.cpg.join("g", LONG_S)
        former = LocalDealer(gateway.endpoint)
        with link.lock:
            former.send(link.session.hello())
            link.session.is_open = True
        eventually(former.receive)
        former.close()
        group.mcast(b"x").ordered(LONG_S)
        assert link.session.is_open


def test_cancellation_at_any_place(loopback: Loopback, gateway: GatewayProcess) -> None:
    asyncio.run(_cancel(gateway.endpoint, loopback))


async def _cancel(endpoint: str, loopback: Loopback) -> None:
    randomness = random.Random(3)
    events: list[rondo.Event | None] = []
    numbers = Numbers()
    async with rondo.aio.connect(endpoint, LONG_S) as cluster:
        group = await cluster.cpg.join("cancelled")

        async def mcast() -> None:
            numbers.begun += 1
            number = numbers.begun
            request = await group.mcast(b"%d" % number)
            numbers.returned.add(number)
            if randomness.random() < 0.3:
                await request.ordered(LONG_S)

        async def poll() -> None:
            events.append(await group.poll(0.01))

        async def iterate() -> None:
            async for event in group:
                events.append(event)  # noqa: PERF401 - what was taken before it is cancelled counts

        async def ask() -> None:
            await cluster.cpg.groups(LONG_S)

        async def join() -> None:
            with contextlib.suppress(rondo.Exists):
                await (await cluster.cpg.join("other", LONG_S)).leave(LONG_S)

        async def take_all() -> None:
            numbers.begun += 1
            await (await group.mcast(b"%d" % numbers.begun)).ordered(LONG_S)
            while (event := await group.poll(0)) is not None:
                events.append(event)
            assert not numbers.judge(events)

        growth = Growth(loopback)
        for cancelled in range(1, COUNT + 1):
            task = asyncio.create_task(randomness.choice((mcast, mcast, poll, iterate, ask, join))())
            for _ in range(randomness.randrange(4)):
                await asyncio.sleep(0)
            if randomness.random() < 0.1:
                await asyncio.sleep(randomness.random() * 0.002)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            numbers.judge(events)
            if cancelled % TENTH == 0:
                await take_all()
                await asyncio.to_thread(growth.look, cancelled)
        await (await group.mcast(b"-1")).ordered(LONG_S)
        while not numbers.judge(events):
            await poll()
