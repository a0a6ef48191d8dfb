"""What is said to cpg: in which order, and what of it at once for a whole turn of the loop."""

import os
from typing import Protocol

from rondo.protocol import cpg_gateway as bus
from rondo.protocol.envelope import PROTOCOL_VERSION
from services.ipc_gateway.session_registry import Session


class Cpg(Protocol):
    """What is needed of the upstream."""

    def send(self, envelope: bus.Envelope) -> None: ...


class ToCpg:
    """The sender's half."""

    def __init__(self, upstream: Cpg) -> None:
        self.is_welcomed = False
        """Whether cpg is there and has welcomed us."""
        self.epoch = 0
        self._upstream = upstream
        self._acks: dict[int, int] = {}
        self._closes: list[list[int]] = []

    def hello(self) -> None:
        """Greet cpg."""
        self.is_welcomed = False
        self.tell(bus.GatewayHello(self.epoch, PROTOCOL_VERSION, os.getpid(), bus.GatewayKind.CLIENTS))

    def welcomed(self, epoch: int) -> None:
        """cpg is there, with the log of this epoch."""
        self.is_welcomed = True
        self.epoch = epoch

    def tell(self, envelope: bus.Envelope) -> None:
        """Say something, after what happened before."""
        self._tell_closes()
        self._upstream.send(envelope)

    def _tell_closes(self) -> None:
        """All that died at once are told at once. What cpg does not hear of now it learns with its next welcome."""
        closes, self._closes = self._closes, []
        if closes and self.is_welcomed:
            self._upstream.send(bus.Close(self.epoch, closes))

    def open(self, sessions: list[Session]) -> None:
        """Open these, or open them anew."""
        items = [
            [s.number, s.peer.pid, s.start_time, s.peer.uid, s.peer.gid, s.flags, s.note, s.resume] for s in sessions
        ]
        if items:
            self.tell(bus.Open(self.epoch, items))

    def has_no_sessions(self) -> None:
        """This gateway has been here all the time, and there is none: cpg need not wait for any, and frees the log."""
        self.tell(bus.Open(self.epoch, []))

    def acknowledge(self, number: int, position: int) -> None:
        """A session has handled its events up to there; told at the end of the turn."""
        self._acks[number] = position

    def close(self, number: int, reason: bus.CloseReason) -> None:
        """A session is over; told with the next word."""
        self._acks.pop(number, None)
        if self.is_welcomed:
            self._closes.append([number, reason])

    def flush(self) -> None:
        """Say what was gathered in this turn."""
        if self._acks and self.is_welcomed:
            self.tell(bus.EventAck(self.epoch, [[number, n] for number, n in self._acks.items()]))
        self._acks.clear()
        self._tell_closes()
