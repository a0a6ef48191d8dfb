"""A crowd of clients, each a process of its own: python -m tests.cluster.crowd SOCKET COUNT GROUPS [GID]

A client says by hand, over a plain socket, what docs/PROTOCOL-CLIENT.md has it say, so that a fork of this small
process is all that it costs: a thousand of them start in seconds. Client i joins group i modulo GROUPS. When all have
seen themselves join, `joined` is printed; then each takes what comes, without acknowledging, until it is killed. They
are one process group, for killpg. With a GID every thousand are another user, of that group: one user has at most 1,024
sessions. That takes root.
"""

from __future__ import annotations

import gc
import os
import socket
import struct
import sys
import time
from typing import Any

import msgpack

HELLO, WELCOME, REQUEST, EVENTS = 32, 33, 34, 37
JOIN, MEMBERSHIP = 1, 1
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16 + 1 + 31)
READY = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER" + b"\x08Identity" + struct.pack(">I", 0)
LONG, COMMAND = 2, 4
CLIENTS_OF_A_USER = 1000
AGAIN_S = 0.05
UID_FIRST = 61_000
"""Nobody's."""


class Connection:
    """ZMTP 3 over a stream socket: greeting, handshake, frames."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._buffer = b""
        self._socket.sendall(GREETING)
        self._take(len(GREETING))
        self._socket.sendall(bytes([COMMAND, len(READY)]) + READY)
        self._frame()

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionResetError("the gateway has closed the connection")
            self._buffer += data
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _frame(self) -> tuple[int, bytes]:
        (flags,) = self._take(1)
        (size,) = struct.unpack(">Q", self._take(8)) if flags & LONG else self._take(1)
        return flags, self._take(size)

    def send(self, *fields: Any) -> None:
        """Send an envelope."""
        body = msgpack.packb(fields)
        self._socket.sendall(bytes([LONG]) + struct.pack(">Q", len(body)) + body)

    def receive(self) -> list[Any]:
        """Receive the next envelope."""
        while True:
            flags, body = self._frame()
            if not flags & COMMAND:
                envelope: list[Any] = msgpack.unpackb(body)
                return envelope


def welcomed(path: str) -> tuple[Connection, int, list[Any]]:
    """A connection with its session, and the fields of the welcome. Where too many of a user have said nothing yet, the
    gateway refuses more for a moment."""
    while True:
        try:
            connection = Connection(path)
            connection.send(HELLO, 0, 1, 0, "crowd", None)
            kind, epoch, *fields = connection.receive()
        except ConnectionError:
            time.sleep(AGAIN_S)
            continue
        assert kind == WELCOME, (kind, fields)
        return connection, epoch, fields


def client(path: str, group: bytes, joined: int) -> None:
    """One client: it joins, writes a byte to `joined`, and then takes all events."""
    connection, epoch, fields = welcomed(path)
    me = [fields[1], fields[2]]
    connection.send(REQUEST, epoch, 1, 1, msgpack.packb([[1, JOIN, group]]))
    is_in = False
    while True:
        kind, _, *fields = connection.receive()
        if kind == EVENTS and not is_in:
            events = msgpack.unpackb(fields[2])
            is_in = any(event[1] == MEMBERSHIP and me in [change[:2] for change in event[4]] for event in events)
            if is_in:
                os.write(joined, b".")


def become_another_user(number: int, gid: int) -> None:
    """One of a thousand of the same user."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(UID_FIRST + number // CLIENTS_OF_A_USER)


def main() -> None:
    """Fork the clients, wait until all have joined, and stay until the end of input."""
    path, count, groups, *gids = sys.argv[1], *map(int, sys.argv[2:])
    report, joined = os.pipe()
    gc.freeze()  # a garbage collection would write to the pages that the forks share, and so copy them
    gc.disable()
    for number in range(count):
        if os.fork() == 0:
            os.close(report)
            os.close(0)
            for gid in gids:
                become_another_user(number, gid)
            client(path, b"crowd-%d" % (number % groups), joined)
    os.close(joined)
    for _ in range(count):
        if not os.read(report, 1):
            raise SystemExit("a client has given up")
    print("joined", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
