"""A session and its socket, as the threads of an application use them.

A worker thread (`worker`) keeps the session connected, so that requests and acknowledgements go on while the
application works. Passing each message through it would cost a wake-up on the way out and one on the way back. So a
thread of the application that sends while nothing else is under way writes to the socket itself. One that waits reads
the socket itself as long as it waits: it *leads*. The worker leaves the socket alone meanwhile.

The session is touched only under `lock`. The thread that has the lock writes its identifier to `holder`.

**An exception of a signal handler** (Ctrl-C, an alarm) comes up in the main thread where Python checks for signals: at
calls, at backward jumps, where a function begins. It may end any call half-way. So a thread that works on the session
sets `is_torn` before and clears it after. If the next one finds it set, the session is mended and the connection made
anew: gateway and session then tell each other what they have. For the same reason application threads process only
messages. They hand all else to the worker, in which no handler ever runs. There is no `threading.Condition` here, and
no context manager written in Python: these could be interrupted between taking a lock and recording it. Steps that must
not be interrupted are statements without calls. The first call in a `finally` or `except` is always made.
"""

import sys
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable
from operator import methodcaller
from typing import Any, TypeVar

from rondo._client import descriptors
from rondo._client.arguments import DEFAULT_TIMEOUT_S, Default, deadline_of, seconds_of
from rondo._client.batches import RequestFactory
from rondo._client.descriptors import POLL_S_MAX, Wakeup, poll
from rondo._client.dialling import dial
from rondo._client.endpoint import Endpoint
from rondo._client.groups import Group
from rondo._client.listeners import ThreadListeners
from rondo._client.session import Session
from rondo._client.state import CLOSED
from rondo._client.worker import ACK_BYTES, Worker
from rondo.errors import BadHandle, Busy, Disconnected, Interrupted, Timeout
from rondo.ipc.dealer import Dealer

CLOSE_S = 0.9
"""How long `close` waits at most."""
LOCK_S = 0.2
"""How long `close` waits for the lock at interpreter exit: another thread may have stopped for good while it had it."""
T = TypeVar("T")


class Handle:
    """Shared by the application's objects of one connection. Once it is collected, nobody can use the connection any
    more, and it is closed."""

    __slots__ = ("__weakref__",)


class HandleRef(weakref.ref[Handle]):
    """Calls `set` once the handle is gone. `set` is no Python function: an exception of a signal handler in a callback
    of the garbage collector is only printed, and the callback's work would be lost."""

    __slots__ = ("set",)
    set: Callable[[], object]


class Link:
    """A session, its socket, and the thread that serves it."""

    def __init__(
        self,
        endpoint: Endpoint,
        client_name: str,
        request_factory: RequestFactory,
        handle: Handle,
        lost_after_ms: float | None = None,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
    ) -> None:
        """`lost_after_ms`: when the groups are told that the node is lost; None: when it gives up the session.
        `timeout_s`: the default timeout of calls. Raises InvalidParameter, AccessDenied."""
        self.endpoint = endpoint
        self.dealer: Dealer = dial(endpoint)
        self.session = Session(client_name, request_factory, self, why_denied=endpoint.denied)
        self.listeners = ThreadListeners(endpoint.url)
        self.session.tell_owner = self.listeners.put
        self.lost_after_ms = lost_after_ms
        self.timeout_s = timeout_s
        self.lock = threading.Lock()
        self.holder = 0
        """The thread that has the lock."""
        self.is_torn = False
        """A thread is changing the session, or an exception interrupted such a change."""
        self.must_renew = False
        """The connection must be made anew: nobody knows what was written to it or read from it."""
        self.wakeup = Wakeup()
        """Wakes the worker."""
        self.is_sleeping = False
        """True if the worker must be woken to see what was queued."""
        self.is_deep = False
        """The worker sleeps without a timeout."""
        self.inbox: deque[bytes] = deque()
        """Envelopes that an application thread has read and left to the worker. Later ones wait until these are
        processed."""
        self.given_up: deque[Group] = deque()
        """Groups whose join was interrupted. Nobody has them."""
        self.interrupt = Wakeup()
        """Wakes the leading thread."""
        self.leader: int | None = None
        """The application thread that waits and reads the socket."""
        self.was_led = False
        """Some thread has led since the worker looked last."""
        self.reads = True
        """The worker polls the socket."""
        self.watched: list[Group] = []
        """Groups whose descriptor the application polls."""
        self.waiters: list[Any] = []
        """Locks on which other application threads wait."""
        self.is_closing = self.is_over = False
        """The worker is to end; the worker has ended."""
        self.forks = descriptors.forks
        self._handle = HandleRef(handle, methodcaller("set"))
        self._handle.set = self.wakeup.set
        self.was_closed = False
        """The application has closed it."""
        self._warning = weakref.ref(handle, self.warn_unclosed)
        del handle  # the traceback of an exception below would keep it alive
        descriptors.inherit(self)
        self.worker = Worker(self)
        self.worker.start()

    # -- whoever works on the session ----------------------------------------------------------------------------

    def check_process(self) -> None:
        """Raise BadHandle in a forked child: the worker thread exists only in the parent."""
        if self.forks != descriptors.forks:
            raise BadHandle("this connection belongs to the parent process; after a fork, call rondo.connect() anew")

    def deadline_of(self, timeout: float | Default | None) -> float | None:
        """The time.monotonic() at which a call's timeout expires. Raises InvalidParameter."""
        return deadline_of(seconds_of(timeout, self.timeout_s))

    def run(self, operation: Callable[..., T], *arguments: Any, check: Callable[..., object] | None = None) -> T:
        """Run an operation on the session. If it raises, the session must be mended; `check` raises before that."""
        me = threading.get_ident()
        if self.holder == me:
            raise_on_top()
        with self.lock:
            self.holder = me
            try:
                if self.is_torn:
                    self.mend()
                if check is not None:
                    check(*arguments)
                self.is_torn = True
                result = operation(*arguments)
                self.is_torn = False
            except BaseException:
                self.wakeup.set()
                raise
            finally:
                self.holder = 0
        return result

    def mend(self) -> None:
        """Repair the session after an exception has interrupted a change. Under `lock`; may be interrupted, and
        repeated."""
        self.must_renew = True
        self.session.mend()
        self.is_torn = False
        self.notify()
        self.wakeup.set()

    def undo_joins(self) -> None:
        """Leave the groups whose join was interrupted. Under `lock`."""
        while self.given_up:
            self.session.undo_join(self.given_up[0])
            self.given_up.popleft()
        self.wake()

    def wake(self) -> None:
        """Something was queued: send it, or let the worker send it. Under `lock`."""
        session = self.session
        requests = session.requests
        full = session.ack_bytes >= ACK_BYTES
        is_alone = requests.bytes_kept == requests.bytes_unsent
        if session.is_open and not self.is_closing and (is_alone or full):
            # Requests that follow while one is under way are better sent together, by the worker.
            self.send(acknowledge=full)
        else:
            self.rouse()

    def rouse(self) -> None:
        """Wake the worker if it sleeps."""
        if self.is_sleeping:
            self.is_sleeping = self.is_deep = False
            self.wakeup.set()

    def send(self, *, acknowledge: bool, everything: bool = False) -> None:
        """Send what is due. Under `lock`."""
        dealer = self.dealer
        for envelope in self.session.outgoing(acknowledge=acknowledge, everything=everything):
            dealer.send(envelope)
        if dealer.is_blocked and not self.reads:
            self.was_led = False
            self.rouse()
        if dealer.has_pending:
            # Sending may have consumed the descriptor's notice that there is something to read.
            self.rouse()
            if self.leader is not None:
                self.interrupt.set()

    def notify(self) -> None:
        """Something has changed: all waiting threads, the leader included, check their conditions. Under `lock`."""
        if self.waiters:
            for waiter in tuple(self.waiters):
                if waiter.locked():
                    waiter.release()
            self.waiters.clear()
        if self.leader is not None and self.leader != self.holder:
            self.interrupt.set()
        for group in self.watched:
            group.ring()

    # -- threads of the application that wait --------------------------------------------------------------------

    def wait(self, condition: Callable[[], object], deadline_s: float | None, what: str) -> None:
        """Wait until `condition` is true; it is called under `lock`. Raises Timeout with the text `what`."""
        me = threading.get_ident()
        if self.holder == me:
            raise_on_top()
        below = me if self.leader == me else None
        looked = is_ready = is_true = is_late = False
        try:
            while not (is_true or is_late):
                leads, waiter, remaining_s = False, None, None
                try:
                    with self.lock:
                        self.holder = me
                        try:
                            if self.is_torn:
                                self.mend()
                            self.is_torn = True
                            if is_ready or (below is None and self.dealer.has_pending):
                                self._receive()
                            is_true = bool(condition())
                            if not is_true and deadline_s is not None:
                                remaining_s = min(POLL_S_MAX, deadline_s - time.monotonic())
                            may_lead = self._may_lead(me)
                            is_late = remaining_s is not None and remaining_s <= 0 and (looked or not may_lead)
                            if is_true or is_late:
                                self._lead_no_more(below)
                            elif may_lead:
                                if (remaining_s is not None and remaining_s < 0) or self.dealer.has_pending:
                                    remaining_s = 0.0  # what has come already is processed even without time left
                                leads = True
                                self.leader = me
                                self.was_led = True
                                if self.reads:
                                    self.rouse()
                            else:
                                waiter = threading.Lock()
                                waiter.acquire()
                                self.waiters.append(waiter)
                            self.is_torn = False
                        finally:
                            self.holder = 0
                    if leads:
                        looked = True
                        is_ready = self._poll(remaining_s)
                    elif waiter is not None:
                        is_ready = False
                        waiter.acquire(True, -1 if remaining_s is None else max(0.0, remaining_s))
                finally:
                    if leads:
                        self.leader = below
                        if self.is_over and below is None:
                            self.release()
                    if waiter is not None and waiter in self.waiters:
                        self.waiters.remove(waiter)
        except BaseException:
            # The worker may still take this thread for the leader, wherever the exception came up.
            self.wakeup.set()
            raise
        if not is_true:
            raise Timeout(what)

    def _may_lead(self, thread: int) -> bool:
        """True if this thread may read the socket while it waits: no thread leads, or it leads itself and a signal
        handler of the application waits on top of that call."""
        if self.is_over or self.is_closing or self.must_renew:
            return False
        return self.leader is None or self.leader == thread

    def _poll(self, timeout_s: float | None) -> bool:
        """Wait for the gateway or for `interrupt`. True if the socket is readable."""
        dealer = self.dealer.fileno()
        ready = poll(timeout_s, dealer, self.interrupt.fileno())
        if self.interrupt.fileno() in ready:
            self.interrupt.clear()
        return dealer in ready

    def _lead_no_more(self, below: int | None) -> None:
        """This thread returns to the application: another waiting thread leads next. Under `lock`."""
        if self.waiters:
            self.notify()
        if self.is_deep:
            self.rouse()
        if below is not None:
            # A signal handler has waited inside this thread's wait. What the outer call waits for may have come
            # meanwhile.
            self.interrupt.set()

    def _receive(self) -> None:
        """Process what the gateway sent, in an application thread. Under `lock`."""
        session = self.session
        if self.must_renew or self.is_over:
            return
        received = self.dealer.receive()
        for envelope in received:
            if self.inbox or not session.receive_plain(envelope):
                self.inbox.append(envelope)
        if self.inbox and sys.is_finalizing():
            while self.inbox:
                session.receive(self.inbox.popleft())
        if self.dealer.is_broken:
            session.is_open = False
        if self.inbox or self.dealer.is_broken or session.ended is not None:
            self.rouse()
        if received:
            if session.requests.bytes_unsent or session.ack_bytes >= ACK_BYTES:
                # What was settled may make something due, and the worker may sleep for long.
                self.send(acknowledge=session.ack_bytes >= ACK_BYTES)
            self.notify()

    def wait_for_order(self, condition: Callable[[], object], deadline_s: float | None, what: str) -> None:
        """Like `wait`, for a condition that only further events can make true: untaken events do not hold them up."""
        waiters, token = self.session.order_waiters, object()
        try:
            self.run(self._wait_for_order, token)
            self.wait(condition, deadline_s, what)
        finally:
            waiters.discard(token)

    def _wait_for_order(self, token: object) -> None:
        self.session.order_waiters.add(token)
        self.session.acknowledge_unhandled()
        self.wake()

    def wait_for_event(self, group: Group, deadline_s: float | None) -> bool:
        """Make the next events of a group ready, which acknowledges those before. False: the group will have no more
        events. Raises Timeout; Busy if another thread waits for them."""
        me = threading.get_ident()
        taker = group.taker
        if taker is not None and taker != me:
            raise Busy(f"another thread waits for the events of group {group.name!r}; only one may at a time")
        try:
            group.taker = me
            if not self.run(self._fill, group):
                self.wait(lambda: group.queue or group.is_over, deadline_s, "")
                return self.run(self._fill, group)
            return True
        finally:
            group.taker = taker

    def _fill(self, group: Group) -> bool:
        session = self.session
        found = session.fill(group)
        if not found:
            group.silence()
        if session.ack_bytes >= ACK_BYTES:
            self.wake()
        elif self.is_deep and session.ack_bytes:
            self.rouse()
        return found

    def watch(self, group: Group) -> int:
        """A descriptor that is readable while there are events of that group. Under `lock`."""
        if group.bell is None:
            group.bell = Wakeup()
        if group not in self.watched:
            self.watched = [*(each for each in self.watched if not each.is_over), group]
        group.ring()
        self.rouse()
        return group.bell.fileno()

    # -- the end -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the session cleanly, so that the node knows that this process left and did not die. Returns within a
        second, whatever the node does."""
        if self.forks != descriptors.forks or self.is_over:
            return  # a forked child has nothing to close
        self.is_closing = self.was_closed = True
        self.wakeup.set()
        me = threading.get_ident()
        if me in (self.holder, self.worker.ident):
            return  # a signal handler or the garbage collector runs inside a call: the worker closes it
        if sys.is_finalizing():
            self._close_here()
            return
        try:
            self.wait(lambda: self.is_over, time.monotonic() + CLOSE_S, "")
        except Timeout:
            return  # it goes on in the background

    def _close_here(self) -> None:
        """The interpreter ends, and no other thread runs any more."""
        if not self.lock.acquire(timeout=LOCK_S):
            return
        try:
            if self.is_over:
                return
            if self.session.is_open and not self.must_renew and not self.is_torn:
                self.send(acknowledge=True, everything=True)
            self.dealer.send(self.session.bye())
            self.session.end(Disconnected(CLOSED))
            self.is_over = True
            self.release()
        finally:
            self.lock.release()

    def release(self) -> None:
        """Close all descriptors: nobody polls them any more."""
        self._handle.set = bool
        self.dealer.close()
        self.wakeup.close()
        self.interrupt.close()

    def forsake(self) -> None:
        """In a forked child: close the child's copies."""
        if self.endpoint.keys is None:
            self.release()

    @property
    def is_forgotten(self) -> bool:
        """True once the application cannot use this connection any more."""
        return self._handle() is None

    def warn_unclosed(self, _handle: "weakref.ref[Handle]") -> None:
        """Warn of an unclosed connection. The garbage collector calls this at any point; the worker closes the
        connection even if this is interrupted."""
        if self.is_over or self.was_closed or self.forks != descriptors.forks:
            return
        warnings.warn(f"unclosed connection to {self.endpoint.url}", ResourceWarning, stacklevel=2)


def raise_on_top() -> None:
    """Raise Interrupted: a signal handler has interrupted its own thread in a call of the same connection."""
    raise Interrupted(
        "called from a signal handler that has interrupted another call of this connection just where it changes "
        "something; nothing was done, so do it from another thread, or again later (close() is always possible)"
    )
