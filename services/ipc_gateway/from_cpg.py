"""Handles cpg's envelopes: sessions are open, requests are settled and answered, events come, the log ends."""

import logging
import time
from collections.abc import Callable
from typing import Any

from rondo.protocol import cpg_gateway as bus
from rondo.protocol.client_gateway import Kind, encode
from rondo.protocol.codes import Code
from rondo.protocol.envelope import PROTOCOL_VERSION
from rondo.protocol.totem_reader import Again
from services.ipc_gateway.credentials import Peer
from services.ipc_gateway.session_registry import Session
from services.ipc_gateway.sessions import Sessions, who

log = logging.getLogger("IPC_GATEWAY")


class FromCpg:
    """The handlers of cpg's envelopes."""

    def __init__(self, sessions: Sessions, limits: list[int], welcomed: Callable[[], object]) -> None:
        """`limits`: the limits in WELCOME for requests and messages. `welcomed` is called after cpg's welcome was
        processed."""
        self.node_id = 0
        self._sessions = sessions
        self._registry, self._cpg, self._outboxes = sessions.registry, sessions.cpg, sessions.outboxes
        self._limits = limits
        self._was_welcomed = False
        """Some cpg has welcomed this gateway before."""
        self._welcomed = welcomed
        self._handlers: dict[type, Callable[[Any], None]] = {
            bus.CpgWelcome: self._on_cpg_welcome,
            bus.Opened: self._on_opened,
            bus.Settled: self._on_settled,
            bus.Reply: self._on_reply,
            bus.Events: self._on_events,
            bus.Notice: self._on_notice,
            bus.Lost: self._on_lost,
            bus.Reopen: self._on_reopen,
        }

    def receive(self, envelope: bus.Envelope) -> None:
        """Process an envelope of cpg."""
        if isinstance(envelope, Again):
            self._sessions.hello()
        elif isinstance(envelope, bus.CpgWelcome) or (self._cpg.is_welcomed and envelope.epoch == self._cpg.epoch):
            handler = self._handlers.get(type(envelope))
            if handler is not None:
                handler(envelope)

    def _on_cpg_welcome(self, welcome: bus.CpgWelcome) -> None:
        if welcome.version != PROTOCOL_VERSION:
            log.error("cpg speaks version %d of the bus, not %d; update both", welcome.version, PROTOCOL_VERSION)
            return
        if not self._cpg.is_welcomed or welcome.epoch != self._cpg.epoch:
            log.info("node %d: cpg (process %d) is ready", welcome.node_id, welcome.pid)
        self.node_id = welcome.node_id
        for session in self._registry:
            if session.is_open:
                # cpg welcomes a new epoch without our hello. LOST has announced that, or LOST itself was lost.
                session.resume = [self._cpg.epoch, session.position, session.next_request - 1]
        was_here_before, self._was_welcomed = self._was_welcomed, True
        self._cpg.welcomed(welcome.epoch)
        for number, pid, start_time, uid, gid, flags, note in welcome.sessions:
            if self._registry.get(number) is None:
                self._adopt(number, Peer(uid, gid, pid), start_time, flags, note)
        # If this gateway is new, clients of its predecessor may still come back. So may clients that are away.
        if was_here_before and not len(self._registry):
            self._cpg.has_no_sessions()
        self._sessions.open([session for session in self._registry if session.connection is not None])
        self._welcomed()

    def _adopt(self, number: int, peer: Peer, start_time: int, flags: int, note: bytes) -> None:
        """cpg has a session that is unknown here. It belonged to a predecessor, or cpg missed that we closed it."""
        ended = self._registry.why_ended(number)
        if ended is not None:
            self._cpg.tell(bus.Close(self._cpg.epoch, [[number, ended[2]]]))
            return
        session = self._registry.adopt(number, peer, start_time, flags, note)
        session.away_deadline = time.monotonic() + session.resume_ms / 1000
        self._sessions.watched_anew.append(session)
        if not session.is_process_alive():
            self._sessions.died(session)

    def _on_opened(self, opened: bus.Opened) -> None:
        for number, code, position, taken, ring in opened.sessions:
            session = self._registry.get(number)
            if session is None or session.connection is None:
                continue
            if code == Code.OK:
                self._welcome(session, position, taken, ring)
            elif code == Code.NOT_EXIST and session.resume is not None:
                self._replace(session)
            else:
                self._sessions.cut(session, code, f"cpg does not open it (code {code})")

    def _welcome(self, session: Session, position: int, taken: int, ring: list[Any] | None) -> None:
        settled = session.resume[2] if session.resume is not None else 0
        if session.resume is not None and session.resume[0] != self._cpg.epoch:
            taken = settled
        if session.is_open:
            # A client that said hello repeatedly was welcomed with the answer to an earlier one. Since then it was told
            # of settled requests, and continues after these.
            settled = max(settled, session.settled)
        session.is_open = True
        session.is_repeating = True
        session.position = position
        session.settled = settled
        session.next_request = settled + 1
        session.in_flight.clear()
        session.in_flight_bytes = 0
        session.resume = [self._cpg.epoch, position, settled]
        version, pid = session.version, session.peer.pid
        fields = (version, self.node_id, pid, session.number, session.secret, position, taken, ring)
        self._outboxes.send(session, encode(Kind.WELCOME, self._cpg.epoch, *fields, [*self._limits, session.resume_ms]))

    def _replace(self, session: Session) -> None:
        """cpg does not have the position from which this session would resume. Its client gets a new session, and sees
        that."""
        connection = session.connection
        self._sessions.close(session, Code.LIBRARY, "it cannot be resumed", bus.CloseReason.DIED)
        if connection is not None:
            created = self._sessions.created(session.peer, session.name, session.flags, connection)
            if created is not None:
                created.version = session.version
                self._registry.attach(created, connection)
                self._sessions.open([created])

    def _on_settled(self, settled: bus.Settled) -> None:
        for number, request in settled.sessions:
            session = self._registry.get(number)
            if session is not None and session.is_open:
                session.settle(request)
                if session.connection is not None:
                    # Sent at the end of this turn, together with the events that most likely came with it.
                    self._outboxes.keep(session, encode(Kind.SETTLED, self._cpg.epoch, request))

    def _on_reply(self, reply: bus.Reply) -> None:
        for number, blob in reply.replies:
            session = self._registry.get(number)
            if session is not None and session.is_open:
                self._outboxes.send(session, encode(Kind.REPLY, self._cpg.epoch, blob))

    def _on_events(self, events: bus.Events) -> None:
        for number, first, last, blob in events.events:
            session = self._registry.get(number)
            if session is not None and session.is_open and last > session.position:
                session.position = last
                session.event_blobs += 1
                self._sessions.counters["event_blobs"] += 1
                self._outboxes.send(session, encode(Kind.EVENTS, self._cpg.epoch, first, last, blob))

    def _on_notice(self, notice: bus.Notice) -> None:
        for number, kind, detail in notice.notices:
            session = self._registry.get(number)
            if session is None or len(detail) != 2:
                continue
            if kind == bus.NoticeKind.CUT:
                self._sessions.cut(session, int(detail[0]), str(detail[1]))
            elif kind == bus.NoticeKind.SLOW:
                held, cut_at = map(int, detail)
                log.warning(
                    "session %016x of %s holds back %d bytes; it is cut off at %d",
                    session.number, who(session), held, cut_at,
                )  # fmt: skip
                self._sessions.counters["slow"] += 1
                self._outboxes.send(session, encode(Kind.SLOW, self._cpg.epoch, held, cut_at))

    def _on_lost(self, lost: bus.Lost) -> None:
        log.warning("the log of this node is over: %s", lost.reason)
        unknown = dict(lost.sessions)
        for session in self._registry:
            if session.is_open:
                outcome_unknown = unknown.get(session.number, [])
                self._outboxes.send(session, encode(Kind.LOST, self._cpg.epoch, lost.reason, outcome_unknown))
                session.is_open = False
                session.resume = [self._cpg.epoch, session.position, session.next_request - 1]

    def _on_reopen(self, reopen: bus.Reopen) -> None:
        again = []
        for number in reopen.sessions:
            session = self._registry.get(number)
            if session is not None and session.connection is not None:
                session.resume = [self._cpg.epoch, session.position, session.settled]
                again.append(session)
        self._sessions.open(again)
