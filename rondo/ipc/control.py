"""The control socket of each service: query its state and counters, change its log level.

Every service binds `ipc://RUN/SERVICE.ctl`. A request is one msgpack map `{"op": ...}`. The answer is one msgpack map
with `"ok": true`, or with `"ok": false` and a one-line `"error"`. All keys are text. An operation is a function from
the request to the answer. The server never blocks: a busy service answers in the next turn of its loop, and the asking
side has a timeout.

Both ends speak ZeroMQ's protocol in the calling thread (`local_router`). libzmq would wake a thread of its own for each
question and each answer, and nothing else in most services needs it.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rondo.ipc import endpoints
from rondo.ipc.local_dealer import LocalDealer
from rondo.ipc.local_router import LocalRouter
from rondo.ipc.trust import check_server, check_socket
from rondo.paths import PathError
from rondo.protocol.envelope import BusError, pack, unpack

if TYPE_CHECKING:
    from pathlib import Path

REQUEST_BYTES_MAX = 64 * 1024
ELEMENTS_MAX = 1024
"""Limit of a request: elements in all its arrays and maps."""

Handler = Callable[[dict[str, Any]], Mapping[str, Any]]
"""An operation: takes the request, returns the content of the answer. It raises ValueError to refuse."""


class ControlError(Exception):
    """The service could not be asked, or it refused. The text names the service and the reason, in one line."""


def endpoint(run_dir: Path, service: str) -> str:
    """The address of a service's control socket."""
    return f"ipc://{socket_path(run_dir, service)}"


def socket_path(run_dir: Path, service: str) -> Path:
    """Its file."""
    return run_dir / f"{service}.ctl"


class ControlServer:
    """The service's end. Poll it for reading, and call `serve` when it is readable or has something pending."""

    def __init__(self, run_dir: Path, service: str, handlers: Mapping[str, Handler]) -> None:
        """Binds the socket; raises `rondo.ipc.endpoints.SocketError`."""
        self._endpoint = endpoint(run_dir, service)
        endpoints.remove_stale(self._endpoint)
        self._router = LocalRouter(self._endpoint)
        self._handlers = dict(handlers)
        self.asking = b""
        """Identity of the connection that is being answered. A handler that keeps it can send more later with
        `tell`."""

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._router.fileno()

    @property
    def has_pending(self) -> bool:
        """True if requests wait of which the descriptor does not tell."""
        return self._router.has_pending

    def serve(self) -> None:
        """Answer the requests that have come."""
        for identity, frame in self._router.receive():
            if frame is None:
                continue  # a message of several frames, which is no request
            self.asking = identity
            # A client that has gone away needs no answer.
            self._router.send(identity, pack(self._answer(frame)))
        self._router.take_gone()

    def _answer(self, frame: bytes) -> dict[str, Any]:
        try:
            request = unpack(frame, ELEMENTS_MAX, ELEMENTS_MAX) if len(frame) <= REQUEST_BYTES_MAX else None
        except BusError as error:
            return {"ok": False, "error": str(error)}
        if not isinstance(request, dict) or not isinstance(request.get("op"), str):
            return {"ok": False, "error": 'a request is a map with "op"'}
        handler = self._handlers.get(request["op"])
        if handler is None:
            return {"ok": False, "error": f"unknown operation; there are: {', '.join(sorted(self._handlers))}"}
        try:
            return {"ok": True, **handler(request)}
        except ValueError as error:
            return {"ok": False, "error": str(error)}

    def tell(self, identity: bytes, news: Mapping[str, Any]) -> bool:
        """Send another answer to an earlier request. False if that client is gone, or has no room."""
        return self._router.send(identity, pack({"ok": True, **news})) is True

    def close(self) -> None:
        """Close and remove the socket."""
        self._router.close()
        endpoints.remove_stale(self._endpoint)


def ask(run_dir: Path, service: str, op: str, timeout: float = 2.0, **arguments: Any) -> dict[str, Any]:
    """Ask a service one thing and wait for the answer, `timeout` seconds at most. Raises `ControlError`."""
    until_s = time.monotonic() + timeout
    path = socket_path(run_dir, service)
    try:
        check_socket(path)
        if not path.exists():
            raise ControlError(f"{service} is not running in {run_dir}")
        dealer = LocalDealer(endpoint(run_dir, service), trusts=check_server)
    except (PathError, OSError) as error:
        raise ControlError(f"{service}: {error}") from None
    try:
        frames = _asked(dealer, pack({"op": op, **arguments}), until_s)
        if not frames and dealer.is_broken:
            raise ControlError(f"{service} ended before it answered")
    finally:
        dealer.close()
    if not frames:
        raise ControlError(f"{service} did not answer within {timeout:g} s")
    try:
        answer = unpack(frames[0])
    except BusError as error:
        raise ControlError(f"{service}: {error}") from None
    if not isinstance(answer, dict) or answer.get("ok") is not True:
        why = answer.get("error") if isinstance(answer, dict) else "not an answer"
        raise ControlError(f"{service}: {why}")
    return answer


def _asked(dealer: LocalDealer, question: bytes, until_s: float) -> list[bytes]:
    """The answer, once a server has come that can be asked. Nothing is asked twice."""
    while not dealer.is_connected:
        now_s = time.monotonic()
        if now_s >= until_s:
            return []
        if dealer.retry_at_s is not None:
            time.sleep(max(0.0, min(dealer.retry_at_s, until_s) - now_s))
        dealer.tend(time.monotonic())
    dealer.is_broken = False
    return answer_of(dealer, until_s) if dealer.send(question) else []


def answer_of(dealer: LocalDealer, until_s: float) -> list[bytes]:
    """What has come by then (CLOCK_MONOTONIC); empty if nothing has, or the connection broke."""
    poll = select.poll()
    poll.register(dealer.fileno(), select.POLLIN)
    while not (frames := dealer.receive()) and not dealer.is_broken:
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            return []
        poll.poll(1000 * left_s)
    return frames
