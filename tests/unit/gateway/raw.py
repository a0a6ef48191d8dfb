"""A client that is not ours: envelopes by hand over ZeroMQ, and bytes by hand over the socket."""

import socket
import struct
from pathlib import Path
from types import TracebackType
from typing import Any

import zmq

from rondo.protocol.client_gateway import FROM_GATEWAY, VERSION, Kind, decode, encode
from rondo.protocol.requests import encode_requests


class RawClient:
    """A DEALER that sends any bytes."""

    def __init__(self, endpoint: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(endpoint)
        self.epoch = 0

    def send(self, kind: Kind, *fields: Any) -> None:
        """Send an envelope."""
        self.socket.send(encode(kind, self.epoch, *fields))

    def requests(self, *requests: list[Any]) -> None:
        """Send a blob of requests."""
        self.send(Kind.REQUEST, requests[0][0], requests[-1][0], encode_requests(list(requests)))

    def receive(self, timeout_ms: int = 60_000) -> tuple[int, list[Any]]:
        """Receive the next envelope. Returns its kind and fields."""
        assert self.socket.poll(timeout_ms), "nothing came"
        kind, _, fields = decode(self.socket.recv(), FROM_GATEWAY)
        return kind, fields

    def receive_kind(self, wanted: Kind) -> list[Any]:
        """Receive envelopes up to the next of this kind. Returns its fields."""
        while True:
            kind, fields = self.receive()
            if kind == wanted:
                return fields

    def hello(self, resume: list[Any] | None = None) -> list[Any]:
        """Send a hello. Returns the fields of the welcome."""
        self.socket.send(encode(Kind.HELLO, 0, VERSION, 0, "raw", resume))
        assert self.socket.poll(60_000), "no welcome came"
        kind, self.epoch, fields = decode(self.socket.recv(), FROM_GATEWAY)
        assert kind == Kind.WELCOME, fields
        return fields

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()
        self._context.term()


def greeted(path: Path) -> socket.socket:
    """A connection that has gone through ZMTP 3.1's greeting and handshake (NULL mechanism) as a DEALER."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(60)
    connection.connect(str(path))
    connection.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16 + 1 + 31))
    received = b""
    while len(received) < 64:
        received += connection.recv(64 - len(received))
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER" + b"\x08Identity" + struct.pack(">I", 0)
    connection.sendall(b"\x04" + bytes([len(ready)]) + ready)
    assert b"READY" in connection.recv(1024)
    return connection
