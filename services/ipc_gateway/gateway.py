"""What happens on what a client or cpg says. docs/PROTOCOL.md has both protocols.

The gateway reads no request, reply or event: it knows sessions, and passes blobs on. It keeps nothing that would be
missed if it were killed: what is not settled the client sends again, what is not acknowledged cpg sends again, and who
the sessions belong to cpg tells our successor.
"""

import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from rondo.protocol import cpg_gateway as bus
from rondo.protocol.client_gateway import FROM_CLIENT, VERSION, Flag, Kind, decode, encode
from rondo.protocol.codes import Code
from rondo.protocol.envelope import PROTOCOL_VERSION, BusError
from rondo.protocol.totem_reader import Again
from services.ipc_gateway.credentials import Identity, Peer, identity_of, peer_of_stamp, start_time_of_stamp
from services.ipc_gateway.front import Received
from services.ipc_gateway.table import Session, Table

REQUEST_BYTES_WINDOW = 3 * 1024 * 1024
"""What a client may have on its way and not settled. cpg refuses more than 4 MiB."""
REQUESTS_WINDOW = 16 * 1024
IN_FLIGHT_BYTES_MAX = 2 * REQUEST_BYTES_WINDOW
"""A client that goes on sending beyond its window is cut off here (one blob of any size is always passed on)."""
ANSWER_BYTES_MAX = 16 * 1024 * 1024
"""Answers that may wait for a client that does not read, besides its events; then it is cut off."""
NAME_CHARACTERS_MAX = 64
STOPPING_REASON = "the node is being stopped"

log = logging.getLogger("IPC_GATEWAY")
REFUSED_LOG_INTERVAL_S = 1.0


class Clients(Protocol):
    """What the gateway needs of the front."""

    def send(self, connection: bytes, envelope: bytes, *, more: bool = False) -> bool: ...

    def note(self, received: Received) -> None: ...


class Cpg(Protocol):
    """What the gateway needs of the upstream."""

    def send(self, envelope: bus.Envelope) -> None: ...


class Sam(Protocol):
    """What the gateway needs of the way to SAM."""

    def ask(self, connection: bytes, number: int, who: Identity | None, blob: bytes) -> None: ...

    def forget(self, connection: bytes) -> None: ...


class Control(Protocol):
    """What the gateway needs of the way to control."""

    def ask(self, connection: bytes, number: int, uid: int, blob: bytes) -> None: ...

    def forget(self, connection: bytes) -> None: ...


class Gateway:
    """All sessions, between the front and the upstream."""

    def __init__(self, clients: Clients, cpg: Cpg, message_bytes_max: int, client_bytes_max: int) -> None:
        self.sam: Sam | None = None
        """Where requests for SAM go."""
        self.control: Control | None = None
        """Where requests for control go."""
        self.table = Table()
        self.counters: Counter[str] = Counter()
        self._refused_logged = -REFUSED_LOG_INTERVAL_S
        self.is_welcomed = False
        """Whether cpg is there and has welcomed us."""
        self.node_id = 0
        self.epoch = 0
        self.watched_anew: list[Session] = []
        """Sessions whose process is to be watched, since somebody last looked."""
        self._clients = clients
        self._cpg = cpg
        # Events are bounded by cpg, which admits one message beyond its bound; the rest are answers.
        self._waiting_bytes_max = client_bytes_max + message_bytes_max + ANSWER_BYTES_MAX
        self._limits = [REQUEST_BYTES_WINDOW, REQUESTS_WINDOW, message_bytes_max]
        self._stamps: dict[bytes, str] = {}
        self._early: dict[bytes, Received] = {}
        """Hellos that wait for cpg's welcome."""
        self._acks: dict[int, int] = {}
        self._closes: list[list[int]] = []
        self._blocked: set[Session] = set()
        self._of_client: dict[int, Callable[[Session, int, list[Any]], None]] = {
            Kind.REQUEST: self._on_request,
            Kind.ACK: self._on_ack,
            Kind.BYE: self._on_bye,
        }
        self._of_cpg: dict[type, Callable[[Any], None]] = {
            bus.CpgWelcome: self._on_cpg_welcome,
            bus.Opened: self._on_opened,
            bus.Settled: self._on_settled,
            bus.Reply: self._on_reply,
            bus.Events: self._on_events,
            bus.Notice: self._on_notice,
            bus.Lost: self._on_lost,
            bus.Reopen: self._on_reopen,
        }

    # -- clients -------------------------------------------------------------------------------------------------

    def on_client(self, received: Received) -> None:
        """An envelope of a client. One that is none is answered with its own error, and changes nothing else."""
        try:
            kind, epoch, fields = decode(received.envelope, FROM_CLIENT)
        except BusError as error:
            self.counters["malformed"] += 1
            self._say_error(received.connection, Code.MESSAGE_ERROR, f"not an envelope: {error}")
            return
        if kind == Kind.HELLO:
            self._on_hello(received, fields)
            return
        if kind == Kind.SAM_REQUEST and self.sam is not None:
            self.counters["sam_requests"] += 1
            who = identity_of(peer_of_stamp(received.stamp), start_time_of_stamp(received.stamp))
            self.sam.ask(received.connection, fields[0], who, fields[1])
            return
        if kind == Kind.CONTROL_REQUEST and self.control is not None:
            self.counters["control_requests"] += 1
            self.control.ask(received.connection, fields[0], peer_of_stamp(received.stamp).uid, fields[1])
            return
        session = self.table.of_connection(received.connection)
        if session is None or self._stamps.get(received.connection) != received.stamp:
            self.counters["without_session"] += 1
            self._say_error(received.connection, Code.BAD_HANDLE, "this connection has no session; say HELLO first")
            return
        self._of_client[kind](session, epoch, fields)

    def _on_hello(self, received: Received, fields: list[Any]) -> None:
        version, flags, name, resume = fields
        connection = received.connection
        if version != VERSION:
            self._say_bye(connection, Code.VERSION, f"this node speaks version {VERSION}, not {version}")
            return
        if self.table.of_connection(connection) is not None:
            self._say_error(connection, Code.BAD_OPERATION, "this connection has a session already")
            return
        self._clients.note(received)
        self._stamps[connection] = received.stamp
        if resume is not None and not self.is_welcomed:
            # Whose session that is, cpg may have to tell us first.
            self._early[connection] = received
            return
        peer = peer_of_stamp(received.stamp)
        session = self._resumed(peer, resume, connection) if resume is not None else None
        begins = "resumed" if session is not None else "opened"
        if session is None:
            ended = self.table.why_ended(resume[0]) if resume is not None else None
            if ended is not None and ended[2] == bus.CloseReason.CUT:
                self._say_bye(connection, ended[0], ended[1])
                return
            session = self._created(peer, name, flags, connection)
        if session is not None:
            session.name = _printable(name)
            session.flags = flags
            log.info("session %016x of %s: %s", session.number, _who(session), begins)
            self.table.attach(session, connection)
            self._open([session])

    def _resumed(self, peer: Peer, resume: list[Any], connection: bytes) -> Session | None:
        number, secret, epoch, position, settled = resume
        session = self.table.get(number)
        if session is None or not self.table.proves(session, peer, secret):
            return None
        session.secret = secret
        session.resume = [epoch, position, settled]
        session.is_open = False
        self.counters["resumed"] += 1
        if session.connection is not None and session.connection != connection:
            self._forget_connection(session.connection)
        return session

    def _created(self, peer: Peer, name: str, flags: int, connection: bytes) -> Session | None:
        if why := self.table.why_full(peer):
            self.counters["refused"] += 1
            if (now := time.monotonic()) - self._refused_logged >= REFUSED_LOG_INTERVAL_S:
                self._refused_logged = now
                log.warning("a session of %s was refused: %s (%d so far)", peer, why, self.counters["refused"])
            self._say_bye(connection, Code.NO_RESOURCES, why)
            return None
        session = self.table.create(peer, _printable(name), flags)
        self.watched_anew.append(session)
        self.counters["sessions"] += 1
        return session

    def _on_request(self, session: Session, epoch: int, fields: list[Any]) -> None:
        first, last, blob = fields
        if epoch != self.epoch or not session.is_open or not self.is_welcomed:
            return  # the client sends it again after the next welcome
        if first > session.next_request:
            if not session.is_repeating:
                why = f"its client sent request {first} where {session.next_request} was due"
                self._cut(session, Code.MESSAGE_ERROR, why)
            return
        session.is_repeating = False
        if last < first:
            self._cut(session, Code.MESSAGE_ERROR, f"its client sent requests {first} to {last}")
            return
        if session.in_flight_bytes > IN_FLIGHT_BYTES_MAX:
            self._cut(session, Code.QUEUE_FULL, f"its client goes on sending beyond {REQUEST_BYTES_WINDOW} bytes")
            return
        if last >= session.next_request:
            session.next_request = last + 1
            session.in_flight.append((last, len(blob)))
            session.in_flight_bytes += len(blob)
        self.counters["requests"] += last - first + 1
        self._tell(bus.Request(self.epoch, [[session.number, first, last, blob]]))

    def _on_ack(self, session: Session, epoch: int, fields: list[Any]) -> None:
        if epoch == self.epoch and session.is_open:
            self._acks[session.number] = fields[0]

    def _on_bye(self, session: Session, _epoch: int, _fields: list[Any]) -> None:
        connection = session.connection
        self._close(session, Code.OK, "", bus.CloseReason.LEFT)
        if connection is not None:
            self._say_bye(connection, Code.OK, "")

    def detach(self, connection: bytes) -> None:
        """A connection has ended. Its client may come back on another one; of a process that cannot be seen here it is
        the only sign of life."""
        session = self._forget_connection(connection)
        if session is not None:
            session.away_deadline = time.monotonic() + session.resume_ms / 1000
            if session.peer.is_hidden or not session.is_process_alive():
                self.died(session)

    def _forget_connection(self, connection: bytes) -> Session | None:
        self._stamps.pop(connection, None)
        self._early.pop(connection, None)
        if self.control is not None:
            self.control.forget(connection)
        if self.sam is not None:
            self.sam.forget(connection)
        session = self.table.detach(connection)
        if session is not None:
            self._blocked.discard(session)
        return session

    def died(self, session: Session) -> None:
        """Its process is dead."""
        self.counters["died"] += 1
        self._close(session, Code.LIBRARY, "the process is dead", bus.CloseReason.DIED)

    def give_up_absent(self, now: float) -> None:
        """Close the sessions whose clients did not come back in time."""
        for session in self.table:
            if session.connection is None and now >= session.away_deadline:
                why = f"the connection was lost for more than {session.resume_ms / 1000:g} s"
                self._close(session, Code.LIBRARY, why, bus.CloseReason.DIED)

    # -- to cpg --------------------------------------------------------------------------------------------------

    def hello(self) -> None:
        """Greet cpg, after a new connection or when it does not know us."""
        self.is_welcomed = False
        for session in self.table:
            if session.is_open:
                session.resume = [self.epoch, session.position, session.settled]
                session.is_open = False
        self._tell(bus.GatewayHello(self.epoch, PROTOCOL_VERSION, os.getpid(), bus.GatewayKind.CLIENTS))

    def flush(self) -> None:
        """Pass on what was gathered in this turn of the loop."""
        if self._acks and self.is_welcomed:
            self._tell(bus.EventAck(self.epoch, [[number, n] for number, n in self._acks.items()]))
        self._acks.clear()
        self._tell_closes()
        for session in list(self._blocked):
            self._flush_outbox(session)

    @property
    def has_blocked(self) -> bool:
        """Whether something waits for room on the way to a client."""
        return bool(self._blocked)

    def _tell(self, envelope: bus.Envelope) -> None:
        """To cpg, after what happened before."""
        self._tell_closes()
        self._cpg.send(envelope)

    def _tell_closes(self) -> None:
        """All that died at once are told at once. What cpg does not hear of now it learns with its next welcome."""
        closes, self._closes = self._closes, []
        if closes and self.is_welcomed:
            self._cpg.send(bus.Close(self.epoch, closes))

    def _open(self, opened: list[Session]) -> None:
        if not self.is_welcomed:
            return
        items = []
        for s in opened:
            s.is_open = False
            items.append([s.number, s.peer.pid, s.start_time, s.peer.uid, s.peer.gid, s.flags, s.note, s.resume])
        if items:
            self._tell(bus.Open(self.epoch, items))

    def _close(self, session: Session, code: int, reason: str, close_reason: bus.CloseReason) -> None:
        log.info("session %016x of %s: closed%s", session.number, _who(session), f": {reason}" if reason else "")
        self._blocked.discard(session)
        self._acks.pop(session.number, None)
        self.table.remove(session, code, reason, close_reason)
        if self.is_welcomed:
            self._closes.append([session.number, close_reason])

    def _cut(self, session: Session, code: int, reason: str) -> None:
        log.warning("session %016x of %s: cut off: %s", session.number, _who(session), reason)
        self.counters["cut"] += 1
        connection = session.connection
        self._close(session, code, f"cut off: {reason}", bus.CloseReason.CUT)
        if connection is not None:
            self._say_bye(connection, code, f"cut off: {reason}")

    # -- cpg -----------------------------------------------------------------------------------------------------

    def on_cpg(self, envelope: bus.Envelope) -> None:
        """An envelope of cpg."""
        if isinstance(envelope, Again):
            self.hello()
        elif isinstance(envelope, bus.CpgWelcome) or (self.is_welcomed and envelope.epoch == self.epoch):
            handler = self._of_cpg.get(type(envelope))
            if handler is not None:
                handler(envelope)

    def _on_cpg_welcome(self, welcome: bus.CpgWelcome) -> None:
        if welcome.version != PROTOCOL_VERSION:
            log.error("cpg speaks version %d of the bus, not %d; update both", welcome.version, PROTOCOL_VERSION)
            return
        if not self.is_welcomed or welcome.epoch != self.epoch:
            log.info("node %d: cpg (process %d) is ready", welcome.node_id, welcome.pid)
        self.is_welcomed = True
        self.node_id = welcome.node_id
        for session in self.table:
            if session.is_open:
                # The welcome of a new epoch without a hello of ours: it was announced by LOST, or that got lost.
                session.resume = [self.epoch, session.position, session.next_request - 1]
        self.epoch = welcome.epoch
        for number, pid, start_time, uid, gid, flags, note in welcome.sessions:
            if self.table.get(number) is None:
                self._adopt(number, Peer(uid, gid, pid), start_time, flags, note)
        self._open([session for session in self.table if session.connection is not None])
        early, self._early = self._early, {}
        for received in early.values():
            self.on_client(received)

    def _adopt(self, number: int, peer: Peer, start_time: int, flags: int, note: bytes) -> None:
        """cpg has a session that we do not have: one of our predecessor, or one that we closed and it did not hear."""
        ended = self.table.why_ended(number)
        if ended is not None:
            self._tell(bus.Close(self.epoch, [[number, ended[2]]]))
            return
        session = self.table.adopt(number, peer, start_time, flags, note)
        session.away_deadline = time.monotonic() + session.resume_ms / 1000
        self.watched_anew.append(session)
        if not session.is_process_alive():
            self.died(session)

    def _on_opened(self, opened: bus.Opened) -> None:
        for number, code, position, taken, ring in opened.sessions:
            session = self.table.get(number)
            if session is None or session.connection is None:
                continue
            if code == Code.OK:
                self._welcome(session, position, taken, ring)
            elif code == Code.NOT_EXIST and session.resume is not None:
                self._replace(session)
            else:
                self._cut(session, code, f"cpg does not open it (code {code})")

    def _welcome(self, session: Session, position: int, taken: int, ring: list[Any] | None) -> None:
        settled = session.resume[2] if session.resume is not None else 0
        if session.resume is not None and session.resume[0] != self.epoch:
            taken = settled
        session.is_open = True
        session.is_repeating = True
        session.position = position
        session.settled = settled
        session.next_request = settled + 1
        session.in_flight.clear()
        session.in_flight_bytes = 0
        session.resume = [self.epoch, position, settled]
        fields = (VERSION, self.node_id, session.peer.pid, session.number, session.secret, position, taken, ring)
        self._send(session, encode(Kind.WELCOME, self.epoch, *fields, [*self._limits, session.resume_ms]))

    def _replace(self, session: Session) -> None:
        """cpg has not kept what this session would go on with: its client gets a new one, and sees that it is new."""
        connection = session.connection
        self._close(session, Code.LIBRARY, "it cannot be resumed", bus.CloseReason.DIED)
        if connection is not None:
            created = self._created(session.peer, session.name, session.flags, connection)
            if created is not None:
                self.table.attach(created, connection)
                self._open([created])

    def _on_settled(self, settled: bus.Settled) -> None:
        for number, request in settled.sessions:
            session = self.table.get(number)
            if session is not None and session.is_open:
                session.settle(request)
                if session.connection is not None:
                    # At the end of this turn, together with the events that most likely came with it.
                    self._keep(session, encode(Kind.SETTLED, self.epoch, request))

    def _on_reply(self, reply: bus.Reply) -> None:
        for number, blob in reply.replies:
            session = self.table.get(number)
            if session is not None and session.is_open:
                self._send(session, encode(Kind.REPLY, self.epoch, blob))

    def _on_events(self, events: bus.Events) -> None:
        for number, first, last, blob in events.events:
            session = self.table.get(number)
            if session is not None and session.is_open and last > session.position:
                session.position = last
                self.counters["event_blobs"] += 1
                self._send(session, encode(Kind.EVENTS, self.epoch, first, last, blob))

    def _on_notice(self, notice: bus.Notice) -> None:
        for number, kind, detail in notice.notices:
            session = self.table.get(number)
            if session is None or len(detail) != 2:
                continue
            if kind == bus.NoticeKind.CUT:
                self._cut(session, int(detail[0]), str(detail[1]))
            elif kind == bus.NoticeKind.SLOW:
                held, cut_at = map(int, detail)
                log.warning(
                    "session %016x of %s holds back %d bytes; it is cut off at %d",
                    session.number, _who(session), held, cut_at,
                )  # fmt: skip
                self.counters["slow"] += 1
                self._send(session, encode(Kind.SLOW, self.epoch, held, cut_at))

    def _on_lost(self, lost: bus.Lost) -> None:
        log.warning("the log of this node is over: %s", lost.reason)
        unknown = dict(lost.sessions)
        for session in self.table:
            if session.is_open:
                self._send(session, encode(Kind.LOST, self.epoch, lost.reason, unknown.get(session.number, [])))
                session.is_open = False
                session.resume = [self.epoch, session.position, session.next_request - 1]

    def _on_reopen(self, reopen: bus.Reopen) -> None:
        again = []
        for number in reopen.sessions:
            session = self.table.get(number)
            if session is not None and session.connection is not None:
                session.resume = [self.epoch, session.position, session.settled]
                again.append(session)
        self._open(again)

    def say_stopping(self) -> None:
        """This process is being stopped in order: tell the clients that want to know, before their connections end."""
        for session in self.table:
            if session.is_open and session.connection is not None and session.flags & Flag.STOPPING:
                self._send(session, encode(Kind.STOPPING, self.epoch, STOPPING_REASON))

    def on_sam(self, connection: bytes, number: int, code: int, blob: bytes) -> None:
        """SAM's answer to a request of a client."""
        if not self._clients.send(connection, encode(Kind.SAM_REPLY, 0, number, code, blob)):
            self.counters["sam_replies_dropped"] += 1  # its client does not read; it may ask again

    def on_control(self, connection: bytes, number: int, code: int, blob: bytes) -> None:
        """control's answer to a request of a client."""
        if not self._clients.send(connection, encode(Kind.CONTROL_REPLY, 0, number, code, blob)):
            self.counters["control_replies_dropped"] += 1  # its client does not read; it may ask again

    # -- to clients ----------------------------------------------------------------------------------------------

    def _send(self, session: Session, envelope: bytes) -> None:
        """Send, or keep until there is room. Nobody else waits for this client."""
        if session.connection is None:
            return
        if session.outbox or not self._clients.send(session.connection, envelope):
            self._keep(session, envelope)

    def _keep(self, session: Session, envelope: bytes) -> None:
        session.outbox.append(envelope)
        session.outbox_bytes += len(envelope)
        self._blocked.add(session)
        if session.outbox_bytes > self._waiting_bytes_max:
            self._cut(session, Code.NO_RESOURCES, f"too slow: {session.outbox_bytes} bytes wait for being read")

    def _flush_outbox(self, session: Session) -> None:
        outbox = session.outbox
        while outbox and session.connection is not None:
            if not self._clients.send(session.connection, outbox[0], more=len(outbox) > 1):
                break
            session.outbox_bytes -= len(outbox.popleft())
        if not outbox:
            self._blocked.discard(session)

    def _say_bye(self, connection: bytes, code: int, reason: str) -> None:
        """The last word on a connection; if there is no room for it, its client is told when it says something."""
        self._clients.send(connection, encode(Kind.BYE, self.epoch, code, reason))

    def _say_error(self, connection: bytes, code: int, text: str) -> None:
        """An envelope was dropped; that concerns nobody but who sent it, and ends nothing."""
        self._clients.send(connection, encode(Kind.ERROR, self.epoch, code, text))


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name[:NAME_CHARACTERS_MAX])


def _who(session: Session) -> str:
    return f"{session.name or 'process'} ({session.peer})"
