"""All sessions with cpg, and the envelopes to and from it (docs/PROTOCOL.md, "Between cpg and the gateway")."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable
from typing import Any

from rondo.protocol import cpg_gateway as bus
from rondo.protocol.codes import Code
from rondo.protocol.envelope import ENVELOPE_BYTES_TARGET, PROTOCOL_VERSION, BusError
from rondo.protocol.events import decode_events
from rondo.protocol.requests import decode_replies
from rondo.protocol.totem_reader import Again
from services.qb_gateway.cpg.session import Owner, Session

LEAVING_BYTES_MAX = 32 * 1024 * 1024
"""What the requests of programs that are gone may take until cpg has accepted them."""
SESSION_BYTES = 4096
"""What a session counts for besides its requests."""

log = logging.getLogger("QB_GATEWAY")


class Sessions:
    """The sessions of this node's C programs."""

    def __init__(self, send: Callable[[bus.Envelope], None]) -> None:
        self.table: dict[int, Session] = {}
        self.is_welcomed = False
        """True if cpg is connected and has welcomed this gateway."""
        self.node_id = 0
        """0 before the first welcome."""
        self.epoch = 0
        self.counters = {"bus_errors": 0, "messages_lost": 0, "messages_refused": 0, "logs_lost": 0}
        self._send = send
        self._due: set[Session] = set()
        """Sessions with requests or acknowledgements to send."""
        self._leaving: set[Session] = set()
        """Sessions without a connection that still have unaccepted requests."""
        self._handlers: dict[type, Callable[[Any], None]] = {
            bus.CpgWelcome: self._on_welcome,
            bus.Opened: self._on_opened,
            bus.Settled: self._on_settled,
            bus.Reply: self._on_reply,
            bus.Events: self._on_events,
            bus.Notice: self._on_notice,
            bus.Lost: self._on_lost,
            bus.Reopen: self._on_reopen,
            Again: self._on_again,
        }

    # -- called by the owners ------------------------------------------------------------------------------------

    def open(self, owner: Owner, pid: int, uid: int, gid: int, flags: int) -> Session:
        """A new session of a process."""
        number = 1 << bus.KIND_SHIFT | secrets.randbits(bus.KIND_SHIFT)
        session = Session(number, pid, uid, gid, flags)
        session.owner = owner
        self.table[number] = session
        if self.is_welcomed:
            self._send(bus.Open(self.epoch, [session.row()]))
        return session

    def touch(self, session: Session) -> None:
        """The session has something to send."""
        self._due.add(session)

    def close(self, session: Session) -> None:
        """Its owner is gone. The session closes after its requests are done.

        While cpg is away programs may come and go for ever. Once too much waits, one that cpg has never opened is
        dropped with all that it requested, and that counts as lost.
        """
        session.owner = None
        self._leaving.add(session)
        if session.epoch == 0 and self._leaving_bytes() > LEAVING_BYTES_MAX:
            self.counters["messages_lost"] += sum(each.count for each in session.requests.unresolved.values())
            self._forget(session)
            if self.is_welcomed:  # it may still get to the request to open it
                self._send(bus.Close(self.epoch, [[session.number, int(bus.CloseReason.DIED)]]))

    def _leaving_bytes(self) -> int:
        return sum(SESSION_BYTES + session.requests.bytes_kept for session in self._leaving)

    def flush(self) -> None:
        """Send what is due."""
        due, self._due = self._due, set()
        rows: list[list[Any]] = []
        acknowledged: list[list[int]] = []
        for session in due:
            if not session.is_open or session.number not in self.table:
                continue
            rows += [[session.number, *blob] for blob in session.requests.blobs()]
            if session.acknowledged > session.acknowledged_told:
                session.acknowledged_told = session.acknowledged
                acknowledged.append([session.number, session.acknowledged])
        self._send_requests(rows)
        if acknowledged:
            self._send(bus.EventAck(self.epoch, acknowledged))
        if self._leaving:
            self._let_go()

    def _send_requests(self, rows: list[list[Any]]) -> None:
        batch: list[list[Any]] = []
        size = 0
        for row in rows:
            if batch and size + len(row[3]) > ENVELOPE_BYTES_TARGET:
                self._send(bus.Request(self.epoch, batch))
                batch, size = [], 0
            batch.append(row)
            size += len(row[3])
        if batch:
            self._send(bus.Request(self.epoch, batch))

    def _let_go(self) -> None:
        done = [session for session in self._leaving if session.is_idle]
        for session in done:
            self._forget(session)
        if done and self.is_welcomed:
            # If cpg does not get it, it learns of the end by its next welcome.
            self._send(bus.Close(self.epoch, [[session.number, int(bus.CloseReason.LEFT)] for session in done]))

    def _forget(self, session: Session) -> None:
        self.table.pop(session.number, None)
        self._leaving.discard(session)
        self.counters["messages_lost"] += session.messages_lost
        self.counters["messages_refused"] += session.messages_refused

    def totals(self) -> dict[str, int]:
        """The counters, those of living sessions included."""
        totals = dict(self.counters)
        for session in self.table.values():
            totals["messages_lost"] += session.messages_lost
            totals["messages_refused"] += session.messages_refused
        return totals

    # -- called with cpg's envelopes -----------------------------------------------------------------------------

    def hello(self) -> None:
        """Send a hello to cpg, on a new connection or when cpg does not know this gateway."""
        self.is_welcomed = False
        for session in self.table.values():
            session.detach()
        self._send(bus.GatewayHello(self.epoch, PROTOCOL_VERSION, os.getpid(), bus.GatewayKind.C_PROGRAMS))

    def receive(self, envelope: bus.Envelope) -> None:
        """Process an envelope of cpg."""
        handler = self._handlers.get(type(envelope))
        is_first = isinstance(envelope, bus.CpgWelcome | Again)
        if handler is None or not (is_first or (self.is_welcomed and envelope.epoch == self.epoch)):
            return
        try:
            handler(envelope)
        except BusError as error:
            self.counters["bus_errors"] += 1
            log.error("an envelope of cpg was refused: %s", error)

    def _on_again(self, _again: Again) -> None:
        if self.is_welcomed:
            self.hello()

    def _on_welcome(self, welcome: bus.CpgWelcome) -> None:
        if welcome.version != PROTOCOL_VERSION:
            log.error("cpg speaks version %d of the bus, not %d; update both", welcome.version, PROTOCOL_VERSION)
            return
        if not self.is_welcomed or welcome.epoch != self.epoch:
            log.info("node %d: cpg (process %d) is ready", welcome.node_id, welcome.pid)
        for session in self.table.values():
            session.detach()
        self.is_welcomed = True
        self.node_id = welcome.node_id
        self.epoch = welcome.epoch
        # Sessions of an earlier gateway, whose clients lost their connections when it died; and those that ended while
        # cpg was away.
        strange = [row[0] for row in welcome.sessions if row[0] not in self.table]
        if strange:
            self._send(bus.Close(self.epoch, [[number, int(bus.CloseReason.DIED)] for number in strange]))
        self._send(bus.Open(self.epoch, [session.row() for session in self.table.values()]))

    def _on_opened(self, opened: bus.Opened) -> None:
        for number, code, position, taken, ring in opened.sessions:
            session = self.table.get(number)
            if session is None:
                continue
            if code == Code.OK:
                session.welcome(self.epoch, position, taken, ring)
                self._due.add(session)
            else:
                self._end(session, f"cpg does not open the session (code {code})")

    def _end(self, session: Session, reason: str) -> None:
        self._forget(session)
        if session.owner is not None:
            session.owner.on_end(reason)

    def _on_settled(self, settled: bus.Settled) -> None:
        for number, request in settled.sessions:
            session = self.table.get(number)
            if session is not None and session.is_open:
                session.settled(request)

    def _on_reply(self, reply: bus.Reply) -> None:
        for number, blob in reply.replies:
            session = self.table.get(number)
            if session is not None and session.is_open:
                session.replied(decode_replies(blob))

    def _on_events(self, events: bus.Events) -> None:
        for number, _first, last, blob in events.events:
            session = self.table.get(number)
            if session is not None and session.is_open:
                session.received(last, decode_events(blob))
                self._due.add(session)

    def _on_notice(self, notice: bus.Notice) -> None:
        for number, kind, detail in notice.notices:
            session = self.table.get(number)
            if session is not None and kind == bus.NoticeKind.CUT:
                self._end(session, f"cut off by cpg: {detail[1] if len(detail) == 2 else ''}")

    def _on_lost(self, lost: bus.Lost) -> None:
        log.warning("the log of this node is over: %s", lost.reason)
        self.counters["logs_lost"] += 1
        unknown = dict(lost.sessions)
        for session in self.table.values():
            session.lost(unknown.get(session.number, []))

    def _on_reopen(self, reopen: bus.Reopen) -> None:
        again = [session for number in reopen.sessions if (session := self.table.get(number)) is not None]
        for session in again:
            session.detach()
        self._send(bus.Open(self.epoch, [session.row() for session in again]))
