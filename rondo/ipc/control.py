"""The control socket of each service: query its state and counters, change its log level.

Every service binds `ipc://RUN/SERVICE.ctl`. A request is one msgpack map `{"op": ...}`. The answer is one msgpack map
with `"ok": true`, or with `"ok": false` and a one-line `"error"`. All keys are text. An operation is a function from
the request to the answer. The server never blocks: a busy service answers in the next turn of its loop, and the asking
side has a timeout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import zmq

from rondo.ipc import endpoints, zmq_sockets
from rondo.ipc.trust import check_socket
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
    return f"ipc://{run_dir / service}.ctl"


class ControlServer:
    """The service's end. Poll `socket` for reading, and call `serve` when it is readable."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], run_dir: Path, service: str, handlers: Mapping[str, Handler]
    ) -> None:
        """Binds the socket; raises `rondo.ipc.endpoints.SocketError`."""
        where = endpoint(run_dir, service)
        endpoints.remove_stale(where)
        self.socket = zmq_sockets.bind_router(context, where)
        self._handlers = dict(handlers)
        self.asking = b""
        """Identity of the connection that is being answered. A handler that keeps it can send more later with
        `tell`."""

    def serve(self) -> None:
        """Answer the requests that have come."""
        for identity, frame in zmq_sockets.receive_all_routed(self.socket):
            self.asking = identity
            # A client that has gone away needs no answer.
            zmq_sockets.send(self.socket, pack(self._answer(frame)), identity)

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
        return zmq_sockets.send(self.socket, pack({"ok": True, **news}), identity)

    def close(self) -> None:
        """Close and remove the socket."""
        self.socket.close()


def ask(run_dir: Path, service: str, op: str, timeout: float = 2.0, **arguments: Any) -> dict[str, Any]:
    """Ask a service one thing and wait for the answer, `timeout` seconds at most. Raises `ControlError`."""
    path = run_dir / f"{service}.ctl"
    try:
        check_socket(path)
        if not path.exists():
            raise ControlError(f"{service} is not running in {run_dir}")
    except (PathError, OSError) as error:
        raise ControlError(f"{service}: {error}") from None
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        return _ask(context, endpoint(run_dir, service), service, {"op": op, **arguments}, timeout)
    finally:
        context.term()


def _ask(
    context: zmq.Context[zmq.Socket[bytes]], where: str, service: str, request: dict[str, Any], timeout: float
) -> dict[str, Any]:
    try:
        socket = zmq_sockets.connect_dealer(context, where)
    except endpoints.SocketError as error:
        raise ControlError(f"{service}: {error}") from None
    try:
        socket.send(pack(request))
        if not socket.poll(int(timeout * 1000)):
            raise ControlError(f"{service} did not answer within {timeout:g} s")
        answer = unpack(socket.recv())
    except BusError as error:
        raise ControlError(f"{service}: {error}") from None
    finally:
        socket.close()
    if not isinstance(answer, dict) or answer.get("ok") is not True:
        why = answer.get("error") if isinstance(answer, dict) else "not an answer"
        raise ControlError(f"{service}: {why}")
    return answer
