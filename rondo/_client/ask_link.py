"""Requests to SAM or control through the node's gateway (docs/PROTOCOL-CLIENT.md). There is one request at a time.

The service and the gateway may be killed and restarted meanwhile. A request that may have been lost is sent again if it
is idempotent. An exception out of a signal handler may interrupt a request. Then nobody knows how much of it was
written, so the next request uses a new connection.
"""

import threading
import time
from typing import Any

from rondo._client import descriptors
from rondo._client.arguments import check_seconds
from rondo._client.descriptors import Wakeup, poll
from rondo._client.dialling import dial
from rondo._client.endpoint import Endpoint
from rondo.errors import AccessDenied, BadHandle, Disconnected, Interrupted, MessageError, Timeout, error_of
from rondo.protocol.client_gateway import FROM_GATEWAY, Kind, decode, encode
from rondo.protocol.codes import Code
from rondo.protocol.envelope import BusError, unpack

AGAIN_S = 0.1
TIMEOUT_S = 10.0
STALE_READS_MAX = 64
"""Before a request is sent, the connection is read at most this often, for answers that came too late."""
RETRY_S = 0.05
"""The interval at which an absent gateway is looked for."""


class AskLink:
    """A connection for requests. May be used from several threads; each request waits for its turn."""

    request_kind: Kind
    reply_kind: Kind

    def __init__(self, endpoint: Endpoint) -> None:
        """Raises InvalidParameter, AccessDenied."""
        self._endpoint = endpoint
        self._forks = descriptors.forks
        self._lock = threading.Lock()
        self._holder = 0
        """The thread whose request is under way."""
        self._wakeup = Wakeup()
        self._number = 0
        self._is_torn = False
        """A request was interrupted half-way."""
        self._is_closed = False
        self._dealer = dial(endpoint)
        descriptors.inherit(self)

    def send(self, blob: bytes, timeout: float | None = TIMEOUT_S, *, may_repeat: bool = True) -> Any:
        """Send a request and wait for the answer, at most `timeout` seconds (None: for ever). Raises rondo.Error.

        `may_repeat`: the request is idempotent. Otherwise it is not sent again once it may have been executed;
        Disconnected is raised instead.
        """
        if self._forks != descriptors.forks:
            raise BadHandle("this connection belongs to the parent process; after a fork, connect anew")
        check_seconds(timeout)
        deadline_s = None if timeout is None else time.monotonic() + timeout
        me = threading.get_ident()
        if self._holder == me:
            raise Interrupted(
                "called from a signal handler that has interrupted another request of this connection; nothing was done"
            )
        with self._lock:
            self._holder = me
            try:
                code, result = self._send(blob, deadline_s, may_repeat=may_repeat)
            finally:
                self._holder = 0
                if self._is_closed:
                    self._release()
        if code != Code.OK:
            raise error_of(code, result if isinstance(result, str) else "")
        return result

    def _send(self, blob: bytes, deadline_s: float | None, *, may_repeat: bool) -> tuple[int, Any]:
        if self._is_closed:
            raise BadHandle("this connection was closed")
        if self._is_torn:
            self._dealer.renew()
        self._is_torn = True
        # The gateway ends a connection that was idle for a while.
        for _ in range(STALE_READS_MAX):
            if self._dealer.is_broken or not poll(0.0, self._dealer.fileno()):
                break
            self._dealer.receive()
        self._dealer.is_broken = False
        answer = self._ask(blob, deadline_s, may_repeat=may_repeat)
        self._is_torn = False
        return answer

    def _ask(self, blob: bytes, deadline_s: float | None, *, may_repeat: bool) -> tuple[int, Any]:
        why = self._endpoint.no_answer
        while True:
            self._number += 1
            self._dealer.send(encode(self.request_kind, 0, self._number, blob))
            answer = self._answer(deadline_s)
            if answer is not None and answer[0] not in (Code.LIBRARY, Code.TRY_AGAIN):
                return answer
            if answer is not None:
                why = str(answer[1])
            if not may_repeat and (answer is None or answer[0] == Code.LIBRARY):
                raise Disconnected(f"the outcome is unknown: {why}")
            if deadline_s is not None and time.monotonic() + AGAIN_S >= deadline_s:
                raise Timeout(why)
            poll(AGAIN_S, self._wakeup.fileno())
            if self._is_closed:
                raise BadHandle("this connection was closed")

    def _answer(self, deadline_s: float | None) -> tuple[int, Any] | None:
        """Code and result; None if the connection broke or the time is over."""
        dealer = self._dealer
        while True:
            now_s = time.monotonic()
            dealer.tend(now_s)
            remaining_s = None if deadline_s is None else deadline_s - now_s
            if remaining_s is not None and remaining_s <= 0:
                return None
            if dealer.retry_at_s is not None:
                remaining_s = RETRY_S if remaining_s is None else min(remaining_s, RETRY_S)
            poll(0.0 if dealer.has_pending else remaining_s, dealer.fileno(), self._wakeup.fileno())
            if self._is_closed:
                raise BadHandle("this connection was closed")
            for envelope in dealer.receive():
                answer = self._read(envelope)
                if answer is not None:
                    return answer
            if dealer.is_broken:
                dealer.is_broken = False
                if dealer.is_denied:
                    raise AccessDenied(self._endpoint.denied)
                return None

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

    def close(self) -> None:
        """Close the connection. A thread that waits for an answer gets an error. The service asked does not notice."""
        if self._forks != descriptors.forks:
            return
        self._is_closed = True
        self._wakeup.set()
        if self._holder == threading.get_ident():
            return  # a signal handler interrupted a request of this thread: that request closes it
        with self._lock:
            self._release()

    def _release(self) -> None:
        self._dealer.close()
        self._wakeup.close()

    def forsake(self) -> None:
        """In a forked child: close the child's copy."""
        if self._endpoint.keys is None:
            self._dealer.close()
