"""Totem's socket to control: control's commits go to the ring, the ring's ordered entries go to control.

`services.totem.control_reader` keeps the state. This module has only the socket. It serves one control: the one that
said hello last.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from rondo import paths
from rondo.ipc import endpoints as sockets
from rondo.ipc.local_router import LocalRouter
from rondo.protocol.envelope import BusError
from rondo.protocol.kinds import Kind
from rondo.protocol.totem_control import SOCKET
from services.totem.node import Node

ENVELOPES_PER_TURN: Final = 16
"""Most envelopes to receive before the ring gets its turn."""

RETRY_NS: Final = 5_000_000
"""How long an envelope that control had no room for waits until it is tried again."""

_log = logging.getLogger("TOTEM")


class ControlBus:
    """The ROUTER socket `totem-control.sock`. Raises `SocketError` or `rondo.paths.PathError` when made."""

    def __init__(self, run_dir: Path, node: Node) -> None:
        endpoint = paths.socket_endpoint(run_dir, SOCKET)
        sockets.remove_stale(endpoint)
        self._socket = LocalRouter(endpoint)
        self._node = node
        self._reader = node.control
        self._peer: bytes | None = None
        self._retry_ns: int | None = None
        self._bad_told = False

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._socket.fileno()

    def next_turn_ns(self, now_ns: int) -> int | None:
        """When to call `receive` and `send` even if the descriptor is not readable."""
        return now_ns if self._socket.has_pending else self._retry_ns

    def receive(self, readable: bool, now_ns: int) -> None:
        """Receive from control, and submit its messages to the ring as far as the ring has room."""
        if readable or self._socket.has_pending:
            self._receive()
        self._node.submit_of_control(now_ns)

    def send(self, now_ns: int) -> None:
        """Send the log's next envelopes to control, as far as control has room."""
        if self._peer is None or (self._retry_ns is not None and now_ns < self._retry_ns):
            return
        self._retry_ns = None
        while (frame := self._reader.next_frame()) is not None:
            if not self._socket.send(self._peer, frame):
                self._reader.unsend(frame)
                self._retry_ns = now_ns + RETRY_NS
                return

    def _receive(self) -> None:
        for identity, frame in self._socket.receive(ENVELOPES_PER_TURN):
            if frame is None:
                continue
            if identity != self._peer:
                if self._peer is not None and not _is_hello(frame):
                    self._node.counters["bus_stranger"] += 1
                    continue
                self._peer = identity
                self._retry_ns = None
            try:
                self._reader.receive(frame)
            except BusError as error:
                self._node.counters["bus_refused"] += 1
                if not self._bad_told:
                    self._bad_told = True
                    _log.error("An envelope from control was refused: %s; others like it are only counted", error)
        if self._peer in self._socket.take_gone():
            self._peer = self._retry_ns = None


def _is_hello(frame: bytes) -> bool:
    """Whether an envelope is a hello. Its kind is the byte after the array header."""
    return len(frame) > 1 and frame[1] == Kind.CONTROL_HELLO
