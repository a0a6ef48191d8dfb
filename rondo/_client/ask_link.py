"""Requests to SAM or control through the node's gateway (docs/PROTOCOL-CLIENT.md). There is one request at a time.

The service and the gateway may be killed and come back meanwhile. A request that may have been lost is sent again, if
done twice it has the effect of once. One that has ended without its answer, because its time was over, its caller was
cancelled or an exception of a signal handler came up, leaves a connection of which nobody knows what was written to it.
It is made anew at once, so that nothing is sent after its caller was told that it was not done.

Threads take turns, and who waits for its turn has a deadline, too. Whose turn it is is a number and no lock that is
held: an exception of a signal handler can come up between taking a lock for a limited time and saying so.
"""

import contextvars
import threading
import time
from typing import Any

from rondo._client import descriptors
from rondo._client.absence import Absence
from rondo._client.arguments import deadline_of
from rondo._client.descriptors import Wakeup, poll
from rondo._client.dialling import dial
from rondo._client.endpoint import Endpoint
from rondo.errors import AccessDenied, BadHandle, Disconnected, Interrupted, MessageError, Timeout, TooBig, error_of
from rondo.ipc.endpoints import ipc_path
from rondo.protocol.client_gateway import FROM_GATEWAY, Kind, decode, encode
from rondo.protocol.codes import Code
from rondo.protocol.envelope import BusError, unpack

AGAIN_S = 0.1
TIMEOUT_S = 10.0
CLOSE_S = 0.2
"""How long `close` waits for a thread that asks to let go. At the interpreter's end that may have stopped for good."""
CLOSE_LOOK_S = 0.001
"""It looks this often."""
STALE_READS_MAX = 64
"""So often a connection is read, before something is asked, for what came meanwhile."""
TURN = "other requests of this connection were not answered in time, and this one was not sent"


class Caller:
    """Somebody of asyncio for whom a thread asks, and who may be cancelled meanwhile."""

    def __init__(self) -> None:
        self.is_given_up = False
        self.link: AskLink | None = None
        """Where the thread asks, once it does."""

    def give_up(self) -> None:
        """Have the thread stop waiting."""
        self.is_given_up = True
        if self.link is not None:
            self.link.look()


CALLER: contextvars.ContextVar[Caller | None] = contextvars.ContextVar("rondo_caller", default=None)
"""For whom this thread asks."""


class AskLink:
    """A connection for requests. May be used from several threads; each request waits for its turn."""

    request_kind: Kind
    reply_kind: Kind
    request_bytes_max: int
    """What the gateway takes."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Raises InvalidParameter, AccessDenied."""
        self._endpoint = endpoint
        self._forks = descriptors.forks
        self._lock = threading.RLock()
        """Nobody waits for anything while having it. A signal handler may take it a second time, to close this."""
        self.holder = 0
        """The thread that asks."""
        self._wakeup = Wakeup()
        """For that one."""
        self._turn = Wakeup()
        """For those who wait for their turn."""
        self._number = 0
        self._is_torn = False
        """A request was interrupted half-way."""
        self._is_closed = False
        self._dealer = dial(endpoint)
        self._absence = Absence(ipc_path(endpoint.url), self.look)
        descriptors.inherit(self)

    def send(self, blob: bytes, timeout: float | None = TIMEOUT_S, *, may_repeat: bool = True) -> Any:
        """Send a request and wait for the answer, at most `timeout` seconds (None: for ever). Raises rondo.Error.

        `may_repeat`: the request is idempotent. Otherwise it is not sent again once it may have been executed;
        Disconnected is raised instead.
        """
        if self._forks != descriptors.forks:
            raise BadHandle("this connection belongs to the parent process; after a fork, connect anew")
        deadline_s = deadline_of(timeout)
        if len(blob) > self.request_bytes_max:
            raise TooBig(f"a request has at most {self.request_bytes_max} bytes, and this one {len(blob)}")
        me = threading.get_ident()
        if self.holder == me:
            raise Interrupted(
                "called from a signal handler that has interrupted another request of this connection; nothing was done"
            )
        caller = CALLER.get()
        if caller is not None:
            caller.link = self
        try:
            self._take_turn(me, deadline_s, caller)
            try:
                code, result = self._send(blob, deadline_s, caller, may_repeat=may_repeat)
            finally:
                self._let_go()
        finally:
            if self.holder == me:
                self._pass_turn()
            self._turn.set()
        if code != Code.OK:
            raise error_of(code, result if isinstance(result, str) else "")
        return result

    def _take_turn(self, me: int, deadline_s: float | None, caller: Caller | None) -> None:
        while True:
            self._turn.clear()  # before the look: what comes between that and the wait is then not missed
            self._check(caller)
            with self._lock:
                if not self.holder:
                    self.holder = me
                    return
            left_s = None if deadline_s is None else deadline_s - time.monotonic()
            if left_s is not None and left_s <= 0:
                raise Timeout(TURN)
            poll(left_s, self._turn.fileno())

    def _check(self, caller: Caller | None) -> None:
        if self._is_closed:
            raise BadHandle("this connection was closed")
        if caller is not None and caller.is_given_up:
            raise Interrupted("the caller was cancelled")

    def _let_go(self) -> None:
        self._absence.end()
        if self._is_closed:
            self._release()
        elif self._is_torn:
            self._dealer.renew()
            self._is_torn = False

    def _pass_turn(self) -> None:
        with self._lock:
            self.holder = 0
            if self._is_closed:  # since `_let_go` has looked, and left to this thread
                self._release()

    def _send(
        self, blob: bytes, deadline_s: float | None, caller: Caller | None, *, may_repeat: bool
    ) -> tuple[int, Any]:
        self._check(caller)
        if self._is_torn:
            self._dealer.renew()
        if deadline_s is not None and time.monotonic() >= deadline_s:
            raise Timeout("there was no time, and nothing was sent")
        self._is_torn = True
        # The gateway ends a connection that was idle for a while.
        for _ in range(STALE_READS_MAX):
            if self._dealer.is_broken or not poll(0.0, self._dealer.fileno()):
                break
            self._dealer.receive()
        self._dealer.is_broken = False
        answer = self._ask(blob, deadline_s, caller, may_repeat=may_repeat)
        self._is_torn = False
        return answer

    def _ask(
        self, blob: bytes, deadline_s: float | None, caller: Caller | None, *, may_repeat: bool
    ) -> tuple[int, Any]:
        why = self._endpoint.no_answer
        while True:
            self._number += 1
            self._dealer.send(encode(self.request_kind, 0, self._number, blob))
            answer = self._answer(deadline_s, caller)
            if answer is not None and answer[0] not in (Code.LIBRARY, Code.TRY_AGAIN):
                return answer
            if answer is not None:
                why = str(answer[1])
            if not may_repeat and (answer is None or answer[0] == Code.LIBRARY):
                raise Disconnected(f"the outcome is unknown: {why}")
            if deadline_s is not None and time.monotonic() + AGAIN_S >= deadline_s:
                raise Timeout(why)
            if poll(AGAIN_S, self._wakeup.fileno()):
                self._wakeup.clear()
            self._check(caller)

    def _answer(self, deadline_s: float | None, caller: Caller | None) -> tuple[int, Any] | None:
        """Code and result; None if the connection broke or the time is over, and it may have been heard."""
        dealer = self._dealer
        while True:
            now_s = time.monotonic()
            if dealer.retry_at_s is not None:
                self._absence.tend(dealer, now_s)
            pause_s = self._absence.pause_s(dealer, now_s)
            if pause_s is None:
                self._absence.end()
            remaining_s = None if deadline_s is None else deadline_s - now_s
            if remaining_s is not None and remaining_s <= 0:
                if not dealer.is_connected:
                    raise Timeout(self._endpoint.no_answer)  # nobody has got it, and nobody will
                return None
            waits_s = [each for each in (pause_s, remaining_s) if each is not None]
            wakeup = self._wakeup.fileno()
            ready = poll(0.0 if dealer.has_pending else min(waits_s, default=None), dealer.fileno(), wakeup)
            if wakeup in ready:
                self._wakeup.clear()
            self._check(caller)
            for envelope in dealer.receive():
                answer = self._read(envelope)
                if answer is not None:
                    return answer
            if dealer.is_broken:
                dealer.is_broken = False
                if dealer.is_denied:
                    raise AccessDenied(self._endpoint.denied)
                return None if dealer.was_ready else (Code.TRY_AGAIN, self._endpoint.no_answer)

    def _read(self, envelope: bytes) -> tuple[int, Any] | None:
        """The answer, if this envelope is the one to the last request."""
        try:
            kind, _, fields = decode(envelope, FROM_GATEWAY)
            if kind == self.reply_kind and fields[0] == self._number:
                return fields[1], unpack(fields[2])
            if kind == Kind.ERROR:
                raise error_of(fields[0], fields[1])
        except BusError as error:
            raise MessageError(f"the gateway sent an invalid envelope: {error}") from None
        return None

    def look(self) -> None:
        """Have all threads that wait here look anew. Called by any thread."""
        self._wakeup.set()
        self._turn.set()

    def shut(self) -> bool:
        """Close the connection, without waiting: a thread that asks is told so, and releases what there is. False: that
        is still to come."""
        if self._forks != descriptors.forks:
            return True
        self._is_closed = True
        self.look()
        with self._lock:
            is_free = not self.holder
            if is_free:
                self._release()
        return is_free

    def close(self) -> None:
        """Close the connection; a thread that waits for an answer is told so. Nothing changes for who was asked."""
        deadline_s = time.monotonic() + CLOSE_S
        # A signal handler, on top of a request: that one closes it.
        while not self.shut() and self.holder != threading.get_ident():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return
            poll(min(left_s, CLOSE_LOOK_S))

    def _release(self) -> None:
        # Others may still be about to wait for their turn: that descriptor lives as long as this object.
        self._dealer.close()
        self._wakeup.close()

    def forsake(self) -> None:
        """In a forked child: close the child's copy."""
        if self._endpoint.keys is None:
            self._dealer.close()
