"""A session and its socket, served by an asyncio event loop. It uses the same sockets as `link`, but no thread."""

import asyncio
import contextlib
import time
import warnings
import weakref
from collections.abc import Callable, Coroutine
from operator import methodcaller
from threading import get_ident
from typing import Any

from rondo._client import departing, descriptors
from rondo._client.absence import Absence
from rondo._client.arguments import DEFAULT_TIMEOUT_S, Default, seconds_of
from rondo._client.batches import RequestFactory
from rondo._client.descriptors import Wakeup
from rondo._client.dialling import dial
from rondo._client.endpoint import Endpoint
from rondo._client.groups import Group
from rondo._client.link import Handle, HandleRef
from rondo._client.listeners import LoopListeners
from rondo._client.requests import BULK_SEND_BYTES
from rondo._client.session import Session
from rondo._client.state import CLOSED
from rondo._client.worker import ACK_BYTES, ACK_DELAY_MS, BYE_MS
from rondo.errors import BadHandle, Busy, Disconnected, Timeout
from rondo.ipc.endpoints import ipc_path

GATHER_S = 0.001
"""Requests wait at most this long for others to travel with; see `_gathers`."""
TAKING_S = 0.005
"""A task that always finds events waiting lets the others run after this time."""


class Link:
    """A session and its socket."""

    def __init__(
        self,
        endpoint: Endpoint,
        name: str,
        request_factory: RequestFactory,
        handle: Handle,
        lost_after_ms: float | None,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
    ) -> None:
        """Raises InvalidParameter, AccessDenied."""
        self.endpoint = endpoint
        self._dealer = dial(endpoint)
        self.session = Session(name, request_factory, self, why_denied=endpoint.denied)
        self.is_closed = False
        self.forks = descriptors.forks
        self._loop = asyncio.get_running_loop()
        self._is_running = self._loop.is_running
        self._thread = get_ident()
        """The thread that runs the loop."""
        self.listeners = LoopListeners(endpoint.url, self._loop)
        self.session.tell_owner = self.listeners.put
        self._wakeup = Wakeup()
        self._handle = HandleRef(handle, methodcaller("set"))
        self._handle.set = self._wakeup.set
        self._warning = weakref.ref(handle, self.warn_unclosed)
        self._lost_after_ms = lost_after_ms
        self._timeout_s = timeout_s
        self._absence = Absence(ipc_path(endpoint.url), self._arrived)
        self._waiting: set[asyncio.Future[None]] = set()
        self._takers: set[Group] = set()
        self.flush_is_due = False
        """`wake` needs not be called."""
        self._take_until_s = 0.0
        """Then the task that takes events lets others run."""
        self._gathered_number = 0
        """The last request that was queued when `_flush` looked."""
        self._gather_until_s: float | None = None
        """When what is queued is sent at the latest; None: it waits for nothing."""
        self._ack_timer: asyncio.TimerHandle | None = None
        self._look_timer: asyncio.TimerHandle | None = None
        self._lost_timer: asyncio.TimerHandle | None = None
        self._deadline_timer: asyncio.TimerHandle | None = None
        self._writes = False
        self._departs = False
        descriptors.inherit(self)
        departing.begins_in_loop(self)
        self._dealer.send(self.session.hello())
        self._loop.add_reader(self._dealer.fileno(), self._on_readable)
        self._loop.add_reader(self._wakeup.fileno(), self._on_wakeup)
        self._loop.call_soon(self._on_readable)
        self._is_absent()

    def check_process(self) -> None:
        """Raise BadHandle in a forked child of the process that made the connection, and in any other event loop."""
        if self.forks != descriptors.forks:
            raise BadHandle("this connection belongs to the parent process; after a fork, connect anew")
        # A thread runs one loop at a time. `get_running_loop` costs a system call up to Python 3.11.
        if get_ident() != self._thread or not self._is_running():
            self._check_loop()

    def _check_loop(self) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise BadHandle("this connection belongs to another event loop; connect in the one that uses it")
        self._thread = get_ident()

    def seconds_of(self, timeout: float | Default | None) -> float | None:
        """How long a call waits, in seconds. Raises InvalidParameter."""
        return seconds_of(timeout, self._timeout_s)

    # -- waiting -------------------------------------------------------------------------------------------------

    async def wait(self, condition: Callable[[], object], timeout: float | None, what: str) -> None:
        """Wait until `condition` is true. Raises Timeout with the text `what`."""
        if condition():
            return
        future: asyncio.Future[None] | None = None
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    future = self._loop.create_future()
                    self._waiting.add(future)
                    await future
        except TimeoutError:
            raise Timeout(what) from None
        finally:
            if future is not None:
                self._waiting.discard(future)

    async def wait_for_order(self, condition: Callable[[], object], timeout: float | None, what: str) -> None:
        """Like `wait`, for a condition that only further events can make true. While somebody waits here, events are
        acknowledged when they arrive; else events that the application has not taken could hold up those that are
        awaited."""
        waiters, token = self.session.order_waiters, object()
        waiters.add(token)
        try:
            self.session.acknowledge_unhandled()
            self.taken()
            await self.wait(condition, timeout, what)
        finally:
            waiters.discard(token)

    async def wait_for_event(self, group: Group, timeout: float | None) -> bool:
        """Make the next events of a group ready, which acknowledges those before. False: the group will have no more
        events. Raises Timeout; Busy if another task waits for them."""
        if group in self._takers:
            raise Busy(f"another task waits for the events of group {group.name!r}; only one may at a time")
        if group.queue and self._loop.time() >= self._take_until_s:
            await self._wait_as_taker(group, asyncio.sleep(0))
        found = self.session.fill(group)
        self.taken()
        if found:
            return True
        await self._wait_as_taker(group, self.wait(lambda: group.queue or group.is_over, timeout, ""))
        return self.session.fill(group)

    async def _wait_as_taker(self, group: Group, waiting: Coroutine[Any, Any, None]) -> None:
        """Wait, and keep other tasks from taking the events of the group meanwhile."""
        self._takers.add(group)
        try:
            await waiting
        finally:
            self._takers.discard(group)
        self._take_until_s = self._loop.time() + TAKING_S

    def notify(self) -> None:
        """Something has changed: all waiting tasks check their conditions again."""
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    # -- the socket ----------------------------------------------------------------------------------------------

    def _on_readable(self) -> None:
        """Receive a bounded number of envelopes, so that other tasks of the loop get their turn."""
        if self.is_closed:
            return
        session, dealer = self.session, self._dealer
        was_open = session.is_open
        received = dealer.receive()
        for envelope in received:
            session.receive(envelope)
        if dealer.is_broken:
            self._begin_again()
        if session.is_open and not was_open:
            self._is_here()
        if received:
            self.notify()
            self.wake()
            self._plan_ack()
        if dealer.has_pending:
            self._loop.call_soon(self._on_readable)

    def _begin_again(self) -> None:
        dealer, session = self._dealer, self.session
        dealer.is_broken = False
        if dealer.is_denied:
            session.refused()
        else:
            session.is_open = False
            session.suspended(f"the connection to {self.endpoint.url} has broken")
            dealer.send(session.hello())
            self._is_absent()
        self.notify()

    # -- while the node is away ----------------------------------------------------------------------------------

    def _is_absent(self) -> None:
        self._absence.begin(time.monotonic())
        if self._lost_timer is None:
            after_ms = self.session.resume_ms if self._lost_after_ms is None else self._lost_after_ms
            self._lost_timer = self._loop.call_later(after_ms / 1000, self._lost)
        self._look()

    def _is_here(self) -> None:
        for timer in (self._lost_timer, self._look_timer):
            if timer is not None:
                timer.cancel()
        self._lost_timer = self._look_timer = None
        self._absence.end()

    def _lost(self) -> None:
        """The node was away for too long. The timer is kept until it is back, so that this happens once."""
        now_s = time.monotonic()
        away_s = now_s - self._absence.begin(now_s)
        self.session.lost(f"no answer from {self.endpoint.url} for {away_s:.0f} s")
        self.notify()

    def _look(self) -> None:
        """Connect if that is due, and plan the next look."""
        if self._look_timer is not None:
            self._look_timer.cancel()
            self._look_timer = None
        if self.is_closed or self.session.is_open:
            return
        pause_s = self._absence.tend(self._dealer, time.monotonic())
        if pause_s is not None:
            self._look_timer = self._loop.call_later(pause_s, self._look)

    def _arrived(self) -> None:
        """Called by the thread that watches for the gateway's socket."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._look)

    # -- sending -------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Send what is queued, at the end of this turn of the loop or a few turns later."""
        if not self.flush_is_due:
            self.flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self.is_closed:
            return
        if self._gathers():
            self._loop.call_soon(self._flush)
            return
        self.flush_is_due = False
        self._send(acknowledge=self.session.ack_bytes >= ACK_BYTES)
        deadline_s = self.session.requests.next_deadline_s
        if deadline_s is not None and self._deadline_timer is None:
            pause_s = max(0.0, deadline_s - time.monotonic())
            self._deadline_timer = self._loop.call_later(pause_s, self._expire)

    def _gathers(self) -> bool:
        """True if what is queued waits one more turn of the loop. It does while requests are under way, each turn
        queues more, and `GATHER_S` is not over. One large batch costs every hop less than many small ones."""
        requests = self.session.requests
        number, unsent = requests.last_number, requests.bytes_unsent
        grows, self._gathered_number = number != self._gathered_number, number
        if grows and unsent != requests.bytes_kept and unsent < BULK_SEND_BYTES:
            now_s = self._loop.time()
            if self._gather_until_s is None:
                self._gather_until_s = now_s + GATHER_S
            if now_s < self._gather_until_s:
                return True
        self._gather_until_s = None
        return False

    def _expire(self) -> None:
        self._deadline_timer = None
        if self.session.requests.expire(time.monotonic()):
            self.notify()
        self.wake()

    def _send(self, *, acknowledge: bool, everything: bool = False) -> None:
        for envelope in self.session.outgoing(acknowledge=acknowledge, everything=everything):
            self._dealer.send(envelope)
        if self._dealer.has_pending:
            # Sending may have consumed the descriptor's notice that there is something to read.
            self._loop.call_soon(self._on_readable)

    def _plan_ack(self) -> None:
        if self._ack_timer is None and self.session.ack_bytes and not self.is_closed:
            self._ack_timer = self._loop.call_later(ACK_DELAY_MS / 1000, self._acknowledge)

    def _acknowledge(self) -> None:
        self._ack_timer = None
        if self.session.ack_bytes and not self.is_closed:
            self._send(acknowledge=True)

    def taken(self) -> None:
        """The application took events. Acknowledge at once if they were many bytes, else after a short delay."""
        if self.session.ack_bytes >= ACK_BYTES:
            self.wake()
        elif self.session.ack_bytes:
            self._plan_ack()

    # -- the end -------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """End the session cleanly, and wait for the gateway's answer."""
        if self.forks != descriptors.forks or self.is_closed:
            return
        self.check_process()
        session = self.session
        try:
            if session.is_open:
                self._send(acknowledge=True, everything=True)
                self._dealer.send(session.bye())
                await self.wait(lambda: session.ended is not None or not session.is_open, BYE_MS / 1000, "")
        except Timeout:
            return
        finally:
            self.close_now()

    def close_now(self) -> None:
        """End the session without waiting for the gateway's answer. The goodbye is sent even if no welcome has come:
        the gateway may have made the session already."""
        if self.is_closed:
            return
        self.is_closed = True
        if self.session.ended is None and self._dealer.is_connected:
            self._dealer.send(self.session.bye())
        self.session.end(Disconnected(CLOSED))
        self._is_here()
        for timer in (self._ack_timer, self._deadline_timer):
            if timer is not None:
                timer.cancel()
        if not self._loop.is_closed():
            self._loop.remove_reader(self._dealer.fileno())
            self._loop.remove_reader(self._wakeup.fileno())
            self.notify()
        self._release()

    def _release(self) -> None:
        self._handle.set = bool
        self._dealer.close()
        self._wakeup.close()

    def forsake(self) -> None:
        """In a forked child: close the child's copies of the descriptors."""
        if self.endpoint.keys is None:
            self.is_closed = True
            self._release()

    def _on_wakeup(self) -> None:
        """The last reference to the connection is gone, so the application cannot use it any more."""
        self._wakeup.clear()
        if self._handle() is None and not self._departs:
            self.close_now()

    @property
    def is_dropped(self) -> bool:
        """True once the application cannot use this connection any more, until it is closed. False in other loops."""
        if self.is_closed or self._handle() is not None or self.forks != descriptors.forks:
            return False
        return asyncio.get_running_loop() is self._loop

    async def depart(self) -> None:
        """Close a dropped connection, and wait for the gateway's answer."""
        if self._departs:
            with contextlib.suppress(Timeout):
                await self.wait(lambda: self.is_closed, BYE_MS / 1000, "")
        else:
            self._departs = True
            await self.close()

    def warn_unclosed(self, _handle: "weakref.ref[Handle]") -> None:
        """Warn of an unclosed connection. The garbage collector calls this at any point. The loop closes the connection
        even if this is interrupted; without a running loop it is closed here."""
        if self.is_closed or self.forks != descriptors.forks:
            return
        if self._loop.is_closed():
            self.close_now()
        warnings.warn(f"unclosed connection to {self.endpoint.url}", ResourceWarning, stacklevel=2)
