"""The worker thread of a link: it keeps the session connected while the application works. No signal handler runs in
it.

While the node is away the worker costs nearly nothing: see `absence`.
"""

import _thread
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rondo._client import departing
from rondo._client.absence import Absence
from rondo._client.descriptors import poll
from rondo._client.state import CLOSED
from rondo.errors import Disconnected
from rondo.ipc.endpoints import ipc_path

if TYPE_CHECKING:
    from rondo._client.link import Link

ACK_BYTES = 512 * 1024
"""This many handled bytes are acknowledged at once; ..."""
ACK_DELAY_MS = 20
"""... fewer after this time without other work."""
ACK_DELAY_MS_MAX = 1000
LED_MS_MAX = 640
"""How long the worker sleeps at most while an application thread leads. After that it sleeps until it is woken."""
BYE_MS = 500
"""How long a close waits for the gateway's answer."""


class Worker:
    """Serves a link until the link is closed."""

    def __init__(self, link: "Link") -> None:
        self._link = link
        self.ident: int | None = None
        """The identifier of the thread, once it runs."""
        self._absence = Absence(ipc_path(link.endpoint.url), self._arrived)
        self._delay_ms = self._led_ms = ACK_DELAY_MS
        self._timeout_s: float | None = 0.0
        self._polled: list[int] = []

    @property
    def polls_socket(self) -> bool:
        """True if the worker is the only one that reads the socket."""
        return self._link.dealer.fileno() in self._polled

    def start(self) -> None:
        """Start the thread. The interpreter's exit does not wait for it.

        `threading.Thread.start` waits in Python code until the new thread runs. An exception of a signal handler there
        releases a lock of that class twice (`RuntimeError: release unlocked lock`) and leaves the thread in its table
        for ever. Nothing here needs what that class adds.
        """
        _thread.start_new_thread(self._run, ())

    def _run(self) -> None:
        """The main function of the thread."""
        self.ident = _thread.get_ident()
        link = self._link
        departing.begins(link)
        try:
            link.run(self._begin)
            ready: list[int] = []
            while link.run(self._turn, ready):
                link.listeners.flush()
                ready = poll(self._timeout_s, *self._polled)
            self._say_bye()
        finally:
            link.run(self._end)
            departing.is_over(link)
            self._absence.end()
            link.listeners.flush(is_over=True)

    def _begin(self) -> None:
        """Send hello. This is not done before the thread runs: after an exception in between, nobody would end the
        session."""
        link = self._link
        if not link.must_renew:
            link.dealer.send(link.session.hello())

    def _turn(self, ready: list[int]) -> bool:
        """Do what is due, and compute how long to sleep. False if the link is closed. Under `lock`."""
        link, dealer, session = self._link, self._link.dealer, self._link.session
        link.is_sleeping = link.is_deep = False
        if link.wakeup.fileno() in ready:
            link.wakeup.clear()
        if link.is_forgotten:
            link.is_closing = True
        if link.must_renew:
            self._renew()
        self._take_inbox()
        if dealer.fileno() in ready or dealer.has_pending:
            self._receive()
        if dealer.is_broken:
            self._begin_again()
        elif session.is_displaced and link.endpoint.keys is None:
            self._renew()
        session.is_displaced = False
        now_s = time.monotonic()
        self._look_at_absence(now_s)
        deadline_s = session.requests.next_deadline_s
        if deadline_s is not None and now_s >= deadline_s and session.requests.expire(now_s):
            link.notify()
        if link.given_up:
            link.undo_joins()
        idle = not ready
        link.send(acknowledge=idle or session.ack_bytes >= ACK_BYTES, everything=link.is_closing)
        if link.is_closing or session.ended is not None:
            return False
        if link.waiters and link.leader is None:
            link.notify()
        self.sleep(now_s, idle=idle)
        return True

    def sleep(self, now_s: float, *, idle: bool) -> None:
        """Decide what to poll and for how long."""
        link, dealer, session = self._link, self._link.dealer, self._link.session
        led = session.is_open and (link.leader is not None or link.was_led) and not dealer.is_blocked
        led = led and not link.watched  # who polls a descriptor wants the socket to be read although no thread waits
        still_led = link.leader is not None
        link.was_led = still_led
        self._led_ms = min(2 * self._led_ms, 2 * LED_MS_MAX) if led and idle else ACK_DELAY_MS
        self._delay_ms = min(2 * self._delay_ms, 2 * ACK_DELAY_MS_MAX) if idle else ACK_DELAY_MS
        link.reads = not led
        timeout_s: float | None = None
        if not session.is_open:
            timeout_s = self._absence_timeout_s(now_s)
        elif led:
            if not (still_led and self._led_ms > LED_MS_MAX):
                timeout_s = min(self._led_ms, LED_MS_MAX) / 1000
        elif session.has_unacknowledged and (session.ack_bytes or self._delay_ms <= ACK_DELAY_MS_MAX):
            timeout_s = self._delay_ms / 1000
        deadline_s = session.requests.next_deadline_s
        if deadline_s is not None:
            timeout_s = min(max(0.0, deadline_s - now_s), 3600.0 if timeout_s is None else timeout_s)
        link.is_sleeping = True
        link.is_deep = timeout_s is None
        self._timeout_s = 0.0 if dealer.has_pending else timeout_s
        self._polled = [link.wakeup.fileno()] if led else [link.wakeup.fileno(), dealer.fileno()]

    # -- the connection ------------------------------------------------------------------------------------------

    def _take_inbox(self) -> None:
        link = self._link
        if link.inbox:
            while link.inbox:
                link.session.receive(link.inbox.popleft())
            link.notify()

    def _receive(self) -> None:
        link = self._link
        received = link.dealer.receive()
        for envelope in received:
            link.session.receive(envelope)
        if received:
            link.notify()

    def _renew(self) -> None:
        """A call was interrupted: nobody knows what it read or wrote, so a new connection is made."""
        link = self._link
        link.inbox.clear()
        if not link.session.is_known:
            # The gateway may have made the session already, and its welcome may be lost.
            link.dealer.send(link.session.bye())
        link.dealer.renew()
        link.dealer.send(link.session.hello())
        link.must_renew = False
        if link.endpoint.keys is None and not link.dealer.is_connected:
            link.session.suspended(f"the connection to {link.endpoint.url} has broken")
        link.notify()

    def _begin_again(self) -> None:
        """The connection broke. Say hello on the next one, as soon as there is one."""
        link, dealer = self._link, self._link.dealer
        dealer.is_broken = False
        if dealer.is_denied:
            link.session.refused()
        else:
            link.session.is_open = False
            link.session.suspended(f"the connection to {link.endpoint.url} has broken")
            dealer.send(link.session.hello())
        link.notify()

    # -- while the node is away ----------------------------------------------------------------------------------

    def _look_at_absence(self, now_s: float) -> None:
        """Connect again if that is due. Tell the groups once the node has been away for too long."""
        link, session = self._link, self._link.session
        if session.is_open:
            if self._absence.since_s is not None:
                self._absence.end()
            return
        since_s = self._absence.begin(now_s)
        self._absence.tend(link.dealer, now_s)
        if not session.is_down and now_s >= self._lost_at_s(since_s):
            session.lost(f"no answer from {link.endpoint.url} for {now_s - since_s:.0f} s")
            link.notify()

    def _lost_at_s(self, since_s: float) -> float:
        link = self._link
        after_ms = link.session.resume_ms if link.lost_after_ms is None else link.lost_after_ms
        return since_s + after_ms / 1000

    def _absence_timeout_s(self, now_s: float) -> float | None:
        """Seconds until something is due that the node's absence makes due."""
        since_s, pause_s = self._absence.begin(now_s), self._absence.pause_s(self._link.dealer, now_s)
        due_s = [] if pause_s is None else [pause_s]
        if not self._link.session.is_down:
            due_s.append(max(0.0, self._lost_at_s(since_s) - now_s))
        return min(due_s, default=None)

    def _arrived(self) -> None:
        """Called by the thread that watches for the gateway's socket."""
        self._link.wakeup.set()

    # -- the end -------------------------------------------------------------------------------------------------

    def _say_bye(self) -> None:
        """Send what is left, tell the gateway that the session ends, and wait for its answer."""
        link, session = self._link, self._link.session
        deadline_s = time.monotonic() + BYE_MS / 1000
        if session.node_id:
            # After an interrupted call the connection may just be reconnecting.
            self._receive_until(deadline_s, lambda: session.is_open)
        if link.run(self._bye):
            self._receive_until(deadline_s, lambda: False)

    def _bye(self) -> bool:
        """End the session. True if an answer is due. The gateway may have made a session although its welcome did not
        arrive."""
        link, session, dealer = self._link, self._link.session, self._link.dealer
        if session.ended is not None or not dealer.is_connected:
            return False
        link.send(acknowledge=True, everything=True)
        dealer.send(session.bye())
        return session.is_open

    def _receive_until(self, deadline_s: float, condition: Callable[[], bool]) -> None:
        link, dealer, session = self._link, self._link.dealer, self._link.session
        while dealer.is_connected and session.ended is None and not condition():
            remaining_s = deadline_s - time.monotonic()
            if remaining_s <= 0:
                return
            # A waiting application thread may be the one that reads the answer.
            poll(min(remaining_s, ACK_DELAY_MS / 1000), dealer.fileno())
            link.run(self._take_all)

    def _take_all(self) -> None:
        """Process all envelopes in their order: no other thread may read in between."""
        self._take_inbox()
        self._receive()

    def _end(self) -> None:
        link = self._link
        link.session.end(Disconnected(CLOSED))
        link.is_over = True
        link.is_sleeping = False
        link.notify()
        if link.leader is None:
            link.release()
