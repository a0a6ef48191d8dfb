"""A session and its socket, as the threads of an application use them.

A thread of its own (`worker`) keeps the session connected, so that requests and acknowledgements go on while the
application works. But that is a detour: each message would wake it on the way out and on the way back. So a thread of
the application that sends while nothing else is under way writes to the socket itself, and one that waits reads from it
itself (it *leads*) as long as it waits. The worker then leaves the socket alone.

Everything in the session is touched under `lock` only, and by a thread at a time that says so in `holder`.

**An exception of a signal handler** (Ctrl-C, an alarm) can come up in the main thread where Python looks for signals:
at calls, at backward jumps, where a function begins. It may end any call of the application half-way. So whoever works
on the session sets `is_torn` before and sets it back after. If it is still set when somebody comes next, the session is
mended, and the connection made anew: the gateway and the session then tell each other what they have. For the same
reason the threads of the application take in no more than messages; all else they hand to the worker, in which no
handler ever runs. There is no `threading.Condition` here, and there are no context managers written in Python: these
would be interrupted between taking a lock and saying so. What must not be interrupted in between is written in
statements that call nothing; the first call in a `finally` or `except` is still made.
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
"""How long `close` waits for the lock while the interpreter ends: another thread may have stopped for good with it."""
T = TypeVar("T")


class Handle:
    """What the application's objects of one connection have in common: once it is gone, nobody can use that any more,
    and it is closed."""

    __slots__ = ("__weakref__",)


class HandleRef(weakref.ref[Handle]):
    """Calls `set` once the handle is gone. No function written in Python does that: an exception of a signal handler in
    a callback of the garbage collector is only printed, and what the callback was to do would never be done."""

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
        `timeout_s`: of calls that are given none. Raises InvalidParameter, AccessDenied."""
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
        """Somebody is changing the session, or was when an exception ended that."""
        self.must_renew = False
        """The connection has to be made anew: nobody knows what was written to it or read from it."""
        self.wakeup = Wakeup()
        """For the worker."""
        self.is_sleeping = False
        """Whether the worker has to be woken to see what was queued."""
        self.is_deep = False
        """It sleeps without end."""
        self.inbox: deque[bytes] = deque()
        """What a thread of the application has read and the worker is to take in; what follows has to wait for it."""
        self.given_up: deque[Group] = deque()
        """Groups whose join was interrupted: nobody has them."""
        self.interrupt = Wakeup()
        """For who leads."""
        self.leader: int | None = None
        """The thread of the application that waits, and reads the socket."""
        self.was_led = False
        """So it was since the worker looked last."""
        self.reads = True
        """The worker polls the socket."""
        self.watched: list[Group] = []
        """Groups of which the application polls a descriptor."""
        self.waiters: list[Any] = []
        """Locks that other threads of the application wait for."""
        self.is_closing = self.is_over = False
        """The worker ends; it has ended."""
        self.forks = descriptors.forks
        self._handle = HandleRef(handle, methodcaller("set"))
        self._handle.set = self.wakeup.set
        self.was_closed = False
        """By the application."""
        self._warning = weakref.ref(handle, self.warn_unclosed)
        del handle  # or the traceback of an exception that comes up below would keep it
        descriptors.inherit(self)
        self.worker = Worker(self)
        self.worker.start()

    # -- whoever works on the session ----------------------------------------------------------------------------

    def check_process(self) -> None:
        """Raise BadHandle in a process that was forked off after the connection was made: it has no thread here."""
        if self.forks != descriptors.forks:
            raise BadHandle("this connection belongs to the parent process; after a fork, call rondo.connect() anew")

    def deadline_of(self, timeout: float | Default | None) -> float | None:
        """When that time-out of a call is over, by time.monotonic(). Raises InvalidParameter."""
        return deadline_of(seconds_of(timeout, self.timeout_s))

    def run(self, operation: Callable[..., T], *arguments: Any, check: Callable[..., object] | None = None) -> T:
        """Do something with the session. What it raises leaves the session to be mended, so errors that are nobody's
        fault come from `check`, which is given the same arguments before."""
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
        """Put right what an exception has left half-changed. Under `lock`; may be interrupted, and done again."""
        self.must_renew = True
        self.session.mend()
        self.is_torn = False
        self.notify()
        self.wakeup.set()

    def undo_joins(self) -> None:
        """Be out of the groups whose join was interrupted. Under `lock`."""
        while self.given_up:
            self.session.undo_join(self.given_up[0])
            self.given_up.popleft()
        self.wake()

    def wake(self) -> None:
        """Have it seen that there is something to send. Under `lock`."""
        session = self.session
        requests = session.requests
        full = session.ack_bytes >= ACK_BYTES
        is_alone = requests.bytes_kept == requests.bytes_unsent
        if session.is_open and not self.is_closing and (is_alone or full):
            # What follows while it is under way is better sent together, by the worker.
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
            # To send may have used up the descriptor's word that there is something to read.
            self.rouse()
            if self.leader is not None:
                self.interrupt.set()

    def notify(self) -> None:
        """Something has changed: have all look that wait, who leads included. Under `lock`."""
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
        """Wait until `condition` is true; it is asked under `lock`. Raises Timeout, saying `what` did not happen."""
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
                                    remaining_s = 0.0  # what has come already is looked at, however short the time
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
            # Wherever it came up, even where the loop begins again: the worker may take this thread for the reader.
            self.wakeup.set()
            raise
        if not is_true:
            raise Timeout(what)

    def _may_lead(self, thread: int) -> bool:
        """Whether this thread is to read the socket while it waits: nobody else does, or it does so already, and a
        signal handler of the application waits on top of that."""
        if self.is_over or self.is_closing or self.must_renew:
            return False
        return self.leader is None or self.leader == thread

    def _poll(self, timeout_s: float | None) -> bool:
        """Wait for the gateway, or for somebody who has something to say. True if the socket is to be read."""
        dealer = self.dealer.fileno()
        ready = poll(timeout_s, dealer, self.interrupt.fileno())
        if self.interrupt.fileno() in ready:
            self.interrupt.clear()
        return dealer in ready

    def _lead_no_more(self, below: int | None) -> None:
        """This thread goes back to the application: somebody else who waits reads next. Under `lock`."""
        if self.waiters:
            self.notify()
        if self.is_deep:
            self.rouse()
        if below is not None:
            # A signal handler has waited while its thread did: what that waits for may have come meanwhile.
            self.interrupt.set()

    def _receive(self) -> None:
        """Take in what the gateway said, in a thread of the application. Under `lock`."""
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
                # What was settled may make something due, and the worker need not look for long.
                self.send(acknowledge=session.ack_bytes >= ACK_BYTES)
            self.notify()

    def wait_for_order(self, condition: Callable[[], object], deadline_s: float | None, what: str) -> None:
        """The same, where only further events can make it true: those that wait to be handled do not hold them up."""
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
        """Make the next events of a group ready; that acknowledges those before. False if there will be none any more.
        Raises Timeout; Busy if another thread waits for them."""
        me = threading.get_ident()
        taker = group.taker
        if taker is not None and taker != me:
            raise Busy(f"another thread waits for the events of group {group.name!r}; one at a time takes them")
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
        """End the session cleanly: the node knows that this process left, and does not take it for dead. Returns within
        a second, whatever the node does."""
        if self.forks != descriptors.forks or self.is_over:
            return  # in a child process there is nothing left to close
        self.is_closing = self.was_closed = True
        self.wakeup.set()
        me = threading.get_ident()
        if me in (self.holder, self.worker.ident):
            return  # a signal handler, or the garbage collector, on top of a call: the worker closes it
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
        """In a child process: close its copies."""
        if self.endpoint.keys is None:
            self.release()

    @property
    def is_forgotten(self) -> bool:
        """The application cannot use this connection any more."""
        return self._handle() is None

    def warn_unclosed(self, _handle: "weakref.ref[Handle]") -> None:
        """Say so. Called by the garbage collector, anywhere; the worker closes the connection even if this is
        interrupted."""
        if self.is_over or self.was_closed or self.forks != descriptors.forks:
            return
        warnings.warn(f"unclosed connection to {self.endpoint.url}", ResourceWarning, stacklevel=2)


def raise_on_top() -> None:
    """A signal handler has interrupted its own thread in a call of the same connection."""
    raise Interrupted(
        "called from a signal handler that has interrupted another call of this connection just where it changes "
        "something; nothing was done, so do it from another thread, or again later (close() is always possible)"
    )
