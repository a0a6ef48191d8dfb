"""Totem's socket to cpg: cpg's submissions go to the ring, the ring's ordered messages go to cpg, in batches.

`OrderedLog` keeps the state: positions, acknowledgements, accepted requests, credit. This module has only the ZeroMQ
socket, and moves data between it and the ring. It serves one cpg: the one that said hello last.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from rondo import paths
from rondo.ipc import endpoints
from rondo.ipc.local_router import LocalRouter
from rondo.protocol.envelope import BusError
from rondo.protocol.kinds import Kind
from rondo.protocol.requests import Guarantee
from services.totem.node import Node

ENVELOPES_PER_TURN: Final = 32
"""Most envelopes to receive before the ring gets its turn."""

RETRY_NS: Final = 5_000_000
"""How long an envelope that cpg had no room for waits until it is tried again."""

TAKEN_DELAY_NS: Final = 2_000_000
"""How long a Taken envelope waits for the messages that come with the token, so that cpg, the gateway and the client
wake only once for both. A rotation takes less."""

WAIT_NS: Final = 50_000_000
"""How long messages wait for cpg if no process of this node is in their groups: cpg needs them, but not soon."""

_log = logging.getLogger("TOTEM")


class Bus:
    """The ROUTER socket `totem.sock`. Raises `rondo.ipc.endpoints.SocketError` or `rondo.paths.PathError` when made."""

    def __init__(self, run_dir: Path, node: Node) -> None:
        endpoint = paths.socket_endpoint(run_dir, "totem.sock")
        endpoints.remove_stale(endpoint)
        self._socket = LocalRouter(endpoint)
        self._node = node
        self._log = node.log
        self._counters = node.counters
        self._peer: bytes | None = None
        self.has_cpg = False
        """Whether a cpg is connected."""
        self._sent = 0
        """Envelopes that the socket has accepted, for all cpgs so far."""
        self._retry_ns: int | None = None
        self._taken_since_ns: int | None = None
        """When the first of the requests was taken that cpg has not been told of yet."""
        self._waits_since_ns: int | None = None
        """Since when cpg has waiting messages that can wait."""
        self._bad_told = False

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._socket.fileno()

    def next_turn_ns(self, now_ns: int) -> int | None:
        """When to call `receive` and `send` even if the descriptor is not readable."""
        if self._socket.has_pending:
            return now_ns
        if self._waits_since_ns is not None:
            return self._waits_since_ns + WAIT_NS
        if self._taken_since_ns is None:
            return self._retry_ns
        return max(self._taken_since_ns + TAKEN_DELAY_NS, self._retry_ns or 0)

    def receive(self, readable: bool, now_ns: int) -> None:
        """Receive from cpg, and submit its messages to the ring as far as the ring has room."""
        if readable or self._socket.has_pending:
            self._receive()
        node, ring = self._node, self._node.ring
        submitted = False
        while ring.submit_space() > 0 and (message := self._log.next_message()) is not None:
            safe = message.guarantee == Guarantee.SAFE
            # It is enough to mark the last part of a long message: SAFE also covers everything before it.
            parts = message.expanded if message.is_batch else None
            ring.submit(message.data, message.tag, safe=safe and message.tag[2] == 0, parts=parts)
            submitted = True
        node.answer_sync_steps()
        if submitted:
            ring.flush(now_ns)
            node.settle_own(lambda: self.send(now_ns))
        else:
            node.settle()

    def send(self, now_ns: int) -> None:
        """Send the log's next envelopes to cpg, as far as cpg has room."""
        if self._peer is None or (self._retry_ns is not None and now_ns < self._retry_ns):
            return
        self._retry_ns = None
        if self._log.can_wait:
            if self._waits_since_ns is None:
                self._waits_since_ns = now_ns
            if now_ns < self._waits_since_ns + WAIT_NS:
                return
        self._waits_since_ns = None
        if not self._log.has_taken_news:
            self._taken_since_ns = None
        elif self._taken_since_ns is None:
            self._taken_since_ns = now_ns
        hold_taken = self._taken_since_ns is not None and now_ns < self._taken_since_ns + TAKEN_DELAY_NS
        frame = self._log.next_frame(hold_taken=hold_taken)
        while frame is not None:
            following = self._log.next_frame(hold_taken=hold_taken)
            if not self._socket.send(self._peer, frame, more=following is not None):
                if following is not None:
                    self._log.unsend(following)
                self._log.unsend(frame)
                self._retry_ns = now_ns + RETRY_NS
                break
            self._sent += 1
            frame = following
        if not self._log.has_taken_news:
            self._taken_since_ns = None

    @property
    def waiting(self) -> int:
        """Envelopes that wait because cpg does not read."""
        return 0 if self._peer is None else self._socket.waiting(self._peer)

    @property
    def taken(self) -> int:
        """Envelopes that cpg's socket has accepted. A growing number shows that cpg reads."""
        return self._sent - self.waiting

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _receive(self) -> None:
        for identity, frame in self._socket.receive(ENVELOPES_PER_TURN):
            if frame is None:
                continue
            if identity != self._peer:
                if self._peer is not None and not _is_hello(frame):
                    self._counters["bus_stranger"] += 1
                    continue
                self._peer = identity
                self.has_cpg = True
                self._retry_ns = None
            try:
                self._log.receive(frame)
            except BusError as error:
                self._counters["bus_refused"] += 1
                if not self._bad_told:
                    self._bad_told = True
                    _log.error("An envelope from cpg was refused: %s; others like it are only counted", error)
        if self._peer in self._socket.take_gone():
            self.has_cpg = False
            self._peer = self._retry_ns = self._waits_since_ns = self._taken_since_ns = None
            self._log.lost_peer()


def _is_hello(frame: bytes) -> bool:
    """Whether an envelope is a hello. Its kind is the byte after the array header."""
    return len(frame) > 1 and frame[1] == Kind.HELLO
