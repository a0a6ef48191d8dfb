"""The libzmq sockets of the bus, all made alike: bounded, private, and closed at once without lingering.

The server side binds a ROUTER, the other side connects a DEALER. The ROUTER refuses to send to an unknown peer or into
a full queue, instead of dropping silently. `send` returns that as a result.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import zmq

from rondo.ipc.endpoints import ENVELOPE_BYTES_MAX, HIGH_WATER_MARK, SocketError, ipc_path

if TYPE_CHECKING:
    from collections.abc import Iterator

RECONNECT_MS = 20
"""A client reconnects at this interval while the other side is absent; ..."""
RECONNECT_MAX_MS = 200
"""... backing off up to this."""

FRAMES_PER_DRAIN = 32
"""How many envelopes are taken from one socket before the others get their turn."""


def bind_router(context: zmq.Context[zmq.Socket[bytes]], endpoint: str, mode: int = 0o600) -> zmq.Socket[bytes]:
    """A ROUTER bound to `endpoint`; an `ipc://` socket gets this file mode. Raises `SocketError`."""
    socket = _socket(context, zmq.ROUTER)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
    # The file must not be open to others even for the moment between bind and chmod.
    umask = os.umask(0o177)
    try:
        socket.bind(endpoint)
        if path := ipc_path(endpoint):
            path.chmod(mode)
    except (zmq.ZMQError, OSError) as error:
        socket.close()
        raise SocketError(f"{endpoint}: cannot be bound: {error.strerror or error}") from None
    finally:
        os.umask(umask)
    return socket


def connect_dealer(context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> zmq.Socket[bytes]:
    """A DEALER that connects to `endpoint`, now or once a server has bound it. Raises `SocketError`."""
    socket = _socket(context, zmq.DEALER)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        socket.close()
        raise SocketError(f"{endpoint}: {error.strerror or error}") from None
    return socket


def _socket(context: zmq.Context[zmq.Socket[bytes]], kind: int) -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
    socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
    socket.setsockopt(zmq.MAXMSGSIZE, ENVELOPE_BYTES_MAX)
    return socket


def send(socket: zmq.Socket[bytes], frame: bytes, identity: bytes | None = None) -> bool:
    """Send one envelope, to `identity` if the socket is a ROUTER. False if there is no room or no such peer."""
    return try_send(socket, frame, identity) is True


def try_send(socket: zmq.Socket[bytes], frame: bytes, identity: bytes | None = None) -> bool | None:
    """Like `send`, but None if no such peer is connected."""
    try:
        if identity is None:
            socket.send(frame, zmq.DONTWAIT, copy=len(frame) < 65536)
        else:
            socket.send_multipart((identity, frame), zmq.DONTWAIT, copy=len(frame) < 65536)
    except zmq.Again:
        return False
    except zmq.ZMQError as error:
        if error.errno == zmq.EHOSTUNREACH:
            return None
        raise
    return True


def receive_all(socket: zmq.Socket[bytes], limit: int = FRAMES_PER_DRAIN) -> Iterator[bytes]:
    """The envelopes that wait on a DEALER, at most `limit`. Messages of more than one frame are skipped."""
    for _ in range(limit):
        try:
            frames = socket.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            return
        if len(frames) == 1:
            yield frames[0]


def receive_all_routed(socket: zmq.Socket[bytes], limit: int = FRAMES_PER_DRAIN) -> Iterator[tuple[bytes, bytes]]:
    """The envelopes that wait on a ROUTER, at most `limit`, as (identity, envelope). Anything else is skipped."""
    for _ in range(limit):
        try:
            frames = socket.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            return
        if len(frames) == 2:
            yield frames[0], frames[1]
