"""Sends envelopes to cpg: in order, and gathered for a whole turn of the loop where possible."""

import os
from typing import Protocol

from rondo.protocol import cpg_gateway as bus
from rondo.protocol.envelope import PROTOCOL_VERSION
from services.ipc_gateway.session_registry import Session


class Cpg(Protocol):
    """What is needed of the connection to cpg."""

    def send(self, envelope: bus.Envelope) -> None: ...


class ToCpg:
    """The sending half of the connection to cpg."""

    def __init__(self, upstream: Cpg) -> None:
        self.is_welcomed = False
        """True if cpg is connected and has welcomed this gateway."""
        self.epoch = 0
        self._upstream = upstream
        self._acks: dict[int, int] = {}
        self._closes: list[list[int]] = []

    def hello(self) -> None:
        """Send a hello to cpg."""
        self.is_welcomed = False
        self.tell(bus.GatewayHello(self.epoch, PROTOCOL_VERSION, os.getpid(), bus.GatewayKind.CLIENTS))

    def welcomed(self, epoch: int) -> None:
        """cpg is connected, with the log of this epoch."""
        self.is_welcomed = True
        self.epoch = epoch

    def tell(self, envelope: bus.Envelope) -> None:
        """Send an envelope, after the closes that happened before it."""
        self._tell_closes()
        self._upstream.send(envelope)

    def _tell_closes(self) -> None:
        """Send all closes of this turn at once. If cpg does not get them, it learns of them by its next welcome."""
        closes, self._closes = self._closes, []
        if closes and self.is_welcomed:
            self._upstream.send(bus.Close(self.epoch, closes))

    def open(self, sessions: list[Session]) -> None:
        """Open or reopen these sessions."""
        items = [
            [s.number, s.peer.pid, s.start_time, s.peer.uid, s.peer.gid, s.flags, s.note, s.resume] for s in sessions
        ]
        if items:
            self.tell(bus.Open(self.epoch, items))

    def has_no_sessions(self) -> None:
        """This gateway has not been restarted, and there is no session: cpg need not wait for any, and may free the
        log."""
        self.tell(bus.Open(self.epoch, []))

    def acknowledge(self, number: int, position: int) -> None:
        """A session has handled its events up to this position. Sent at the end of the turn."""
        self._acks[number] = position

    def close(self, number: int, reason: bus.CloseReason) -> None:
        """A session is over. Sent with the next envelope."""
        self._acks.pop(number, None)
        if self.is_welcomed:
            self._closes.append([number, reason])

    def flush(self) -> None:
        """Send what was gathered in this turn."""
        if self._acks and self.is_welcomed:
            self.tell(bus.EventAck(self.epoch, [[number, n] for number, n in self._acks.items()]))
        self._acks.clear()
        self._tell_closes()
