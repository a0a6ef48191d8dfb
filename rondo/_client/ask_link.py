"""Requests over the node's gateway that need no session: one at a time, answered or repeated.

The service that is asked and the gateway may be killed and come back meanwhile. A request that may have been lost is
sent again, unless that could have it done twice.
"""

import math
import os
import threading
import time
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from rondo._client.link import close_sockets, open_socket
from rondo._client.place import Place
from rondo.errors import AccessDenied, BadHandle, Disconnected, MessageError, Timeout, error_of
from rondo.protocol.client_gateway import FROM_GATEWAY, Kind, decode, encode
from rondo.protocol.codes import Code
from rondo.protocol.envelope import BusError, unpack

AGAIN_S = 0.1
TIMEOUT_S = 10.0


class AskLink:
    """A connection. May be used from several threads; each request waits for its turn."""

    request_kind: Kind
    reply_kind: Kind

    def __init__(self, place: Place) -> None:
        """Raises InvalidParameter, AccessDenied."""
        self._place = place
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._number = 0
        self._is_closing = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        try:
            self._socket, self._monitor = open_socket(self._context, place)
        except BaseException:
            self._context.term()
            self._close_pipe()
            raise

    def send(self, blob: bytes, timeout: float | None = TIMEOUT_S, *, may_repeat: bool = True) -> Any:
        """Ask, and wait for the answer, `timeout` seconds at most (None: for ever). Raises rondo.Error.

        `may_repeat`: done twice it has the effect of once. Else it is not sent again when nobody knows whether it was
        done, and raises Disconnected.
        """
        if os.getpid() != self._pid:
            raise BadHandle(f"this connection belongs to process {self._pid}; after a fork, connect anew")
        deadline_s = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            if self._socket.closed:
                raise BadHandle("this connection was closed")
            why = self._place.no_answer
            while True:
                self._number += 1
                self._socket.send(encode(self.request_kind, 0, self._number, blob))
                answer = self._answer(deadline_s)
                if answer is not None and answer[0] not in (Code.LIBRARY, Code.TRY_AGAIN):
                    break
                if answer is not None:
                    why = str(answer[1])
                if not may_repeat and (answer is None or answer[0] == Code.LIBRARY):
                    raise Disconnected(f"whether it was done is not known: {why}")
                if deadline_s is not None and time.monotonic() + AGAIN_S >= deadline_s:
                    raise Timeout(why)
                time.sleep(AGAIN_S)
        code, result = answer
        if code != Code.OK:
            raise error_of(code, result if isinstance(result, str) else "")
        return result

    def _answer(self, deadline_s: float | None) -> tuple[int, Any] | None:
        """Code and result; None if the connection broke or the time is over."""
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._monitor, zmq.POLLIN)
        poller.register(self._wake_read, zmq.POLLIN)
        while True:
            remaining_s = None if deadline_s is None else deadline_s - time.monotonic()
            if remaining_s is not None and remaining_s <= 0:
                return None
            ready = dict(poller.poll(None if remaining_s is None else math.ceil(remaining_s * 1000)))
            if self._is_closing:
                raise BadHandle("this connection was closed")
            if self._socket in ready:
                answer = self._read()
                if answer is not None:
                    return answer
            elif self._monitor in ready and self._is_broken():
                close_sockets(self._socket, self._monitor)
                self._socket, self._monitor = open_socket(self._context, self._place, check=False)
                return None

    def _read(self) -> tuple[int, Any] | None:
        """The answer to the last request, if that is what came."""
        try:
            kind, _, fields = decode(self._socket.recv(), FROM_GATEWAY)
            if kind == self.reply_kind and fields[0] == self._number:
                return fields[1], unpack(fields[2])
            if kind == Kind.ERROR:
                raise error_of(fields[0], fields[1])
        except BusError as error:
            raise MessageError(f"the gateway sent what is no envelope: {error}") from None
        return None

    def _is_broken(self) -> bool:
        broken = False
        while self._monitor.poll(0):
            if recv_monitor_message(self._monitor)["event"] == zmq.Event.HANDSHAKE_FAILED_AUTH:
                raise AccessDenied(self._place.denied)
            broken = True
        return broken

    def close(self) -> None:
        """Close the connection; a thread that waits for an answer is told so."""
        if os.getpid() != self._pid or self._is_closing:
            return
        self._is_closing = True
        os.write(self._wake_write, b"!")
        with self._lock:
            close_sockets(self._socket, self._monitor)
            self._context.term()
            self._close_pipe()

    def _close_pipe(self) -> None:
        os.close(self._wake_read)
        os.close(self._wake_write)
