"""Handles the clients' envelopes (docs/PROTOCOL-CLIENT.md). `from_cpg` handles cpg's.

The gateway reads no request, reply or event: it knows sessions, and forwards blobs. It has no state that would be
missed after a kill. The client repeats what is not settled, cpg repeats what is not acknowledged, and cpg tells the
next gateway who owns the sessions.
"""

import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

from rondo.protocol import cpg_gateway as bus
from rondo.protocol.client_gateway import FROM_CLIENT, VERSION, VERSION_MIN, Flag, Kind, decode, encode
from rondo.protocol.codes import Code
from rondo.protocol.envelope import BusError
from rondo.protocol.requests import MESSAGES_PER_BLOB_MAX
from services.ipc_gateway import sessions
from services.ipc_gateway.credentials import Identity, identity_of, peer_of_stamp, start_time_of_stamp
from services.ipc_gateway.from_cpg import FromCpg
from services.ipc_gateway.listener import Received
from services.ipc_gateway.session_registry import Session
from services.ipc_gateway.to_cpg import Cpg, ToCpg

REQUEST_BYTES_WINDOW: Final = 3 * 1024 * 1024
"""How many bytes of requests a client may have sent and not settled. cpg refuses more than 4 MiB."""
REQUESTS_WINDOW: Final = 16 * 1024
IN_FLIGHT_BYTES_MAX: Final = 2 * REQUEST_BYTES_WINDOW
IN_FLIGHT_REQUESTS_MAX: Final = 2 * REQUESTS_WINDOW
"""A client that sends beyond its window is cut off at this number (one blob of any size is always forwarded)."""
STOPPING_REASON: Final = "the node is being stopped"

log = logging.getLogger("IPC_GATEWAY")


class Clients(sessions.Clients, Protocol):
    """What the gateway needs of the listeners."""

    def has_spoken(self, connection: bytes) -> None: ...


class Sam(Protocol):
    """What the gateway needs of the connection to SAM."""

    def ask(self, connection: bytes, number: int, who: Identity | None, blob: bytes) -> None: ...

    def forget(self, connection: bytes) -> None: ...


class Control(Protocol):
    """What the gateway needs of the connection to control."""

    def ask(self, connection: bytes, number: int, uid: int, blob: bytes) -> None: ...

    def forget(self, connection: bytes) -> None: ...


class Gateway:
    """All sessions, between the listeners and cpg."""

    def __init__(self, clients: Clients, cpg: Cpg, message_bytes_max: int) -> None:
        self.sam: Sam | None = None
        """The connection for requests to SAM."""
        self.control: Control | None = None
        """The connection for requests to control."""
        self._clients = clients
        self._cpg = ToCpg(cpg)
        self.sessions = sessions.Sessions(clients, self._cpg, self._forget)
        self.registry, self.outboxes = self.sessions.registry, self.sessions.outboxes
        self.counters = self.sessions.counters
        limits = [REQUEST_BYTES_WINDOW, REQUESTS_WINDOW, message_bytes_max]
        self._from_cpg = FromCpg(self.sessions, limits, self._welcomed)
        self._stamps: dict[bytes, str] = {}
        self._early: dict[bytes, Received] = {}
        """Hellos that wait for cpg's welcome."""
        self._of_client: dict[int, Callable[[Session, int, list[Any]], None]] = {
            Kind.REQUEST: self._on_request,
            Kind.ACK: self._on_ack,
            Kind.BYE: self._on_bye,
        }

    @property
    def node_id(self) -> int:
        """This node's identifier, as cpg has reported it."""
        return self._from_cpg.node_id

    @property
    def is_welcomed(self) -> bool:
        """True if cpg is connected and has welcomed this gateway."""
        return self._cpg.is_welcomed

    @property
    def epoch(self) -> int:
        """The epoch of the node's log, as cpg has reported it."""
        return self._cpg.epoch

    # -- clients -------------------------------------------------------------------------------------------------

    def on_client(self, received: Received) -> None:
        """Process an envelope of a client. An invalid one is answered with an error, and has no other effect."""
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
            self._clients.has_spoken(received.connection)
            who = identity_of(peer_of_stamp(received.stamp), start_time_of_stamp(received.stamp))
            self.sam.ask(received.connection, fields[0], who, fields[1])
            return
        if kind == Kind.CONTROL_REQUEST and self.control is not None:
            self.counters["control_requests"] += 1
            self._clients.has_spoken(received.connection)
            self.control.ask(received.connection, fields[0], peer_of_stamp(received.stamp).uid, fields[1])
            return
        session = self.registry.of_connection(received.connection)
        if session is None or self._stamps.get(received.connection) != received.stamp:
            self.counters["without_session"] += 1
            self._say_error(received.connection, Code.BAD_HANDLE, "this connection has no session; say HELLO first")
            return
        self._of_client[kind](session, epoch, fields)

    def _on_hello(self, received: Received, fields: list[Any]) -> None:
        version, flags, name, resume = fields
        connection = received.connection
        if version < VERSION_MIN:
            said = f"this node speaks version {VERSION_MIN} at least, not {version}"
            self.sessions.say_bye(connection, Code.VERSION, said)
            return
        if self.registry.of_connection(connection) is not None:
            self._say_error(connection, Code.BAD_OPERATION, "this connection has a session already")
            return
        self._clients.has_spoken(received.connection)
        self._stamps[connection] = received.stamp
        if resume is not None and not self.is_welcomed:
            # cpg may still have to tell whose session that is.
            self._early[connection] = received
            return
        peer = peer_of_stamp(received.stamp)
        session = self.sessions.resumed(peer, resume, connection) if resume is not None else None
        begins = "resumed" if session is not None else "opened"
        if session is None:
            ended = self.registry.why_ended(resume[0]) if resume is not None else None
            if ended is not None and ended[2] == bus.CloseReason.CUT:
                self.sessions.say_bye(connection, ended[0], ended[1])
                return
            session = self.sessions.created(peer, name, flags, connection)
        if session is not None:
            session.name = sessions.printable(name)
            session.flags = flags
            session.version = min(version, VERSION)
            log.info("session %016x of %s: %s", session.number, sessions.who(session), begins)
            self.registry.attach(session, connection)
            self.sessions.open([session])

    def _on_request(self, session: Session, epoch: int, fields: list[Any]) -> None:
        first, last, blob = fields
        if epoch != self.epoch or not session.is_open or not self.is_welcomed:
            return  # the client repeats it after the next welcome
        if first > session.next_request:
            if not session.is_repeating:
                why = f"its client sent request {first} where {session.next_request} was due"
                self.sessions.cut(session, Code.MESSAGE_ERROR, why)
            return
        session.is_repeating = False
        if last < first or last - first >= MESSAGES_PER_BLOB_MAX:
            self.sessions.cut(session, Code.MESSAGE_ERROR, f"its client sent requests {first} to {last}")
            return
        if session.in_flight_bytes > IN_FLIGHT_BYTES_MAX:
            self.sessions.cut(
                session, Code.QUEUE_FULL, f"its client goes on sending beyond {REQUEST_BYTES_WINDOW} bytes"
            )
            return
        if session.next_request - 1 - session.settled > IN_FLIGHT_REQUESTS_MAX:
            self.sessions.cut(session, Code.QUEUE_FULL, f"its client goes on sending beyond {REQUESTS_WINDOW} requests")
            return
        if last >= session.next_request:
            session.next_request = last + 1
            session.in_flight.append((last, len(blob)))
            session.in_flight_bytes += len(blob)
        self.counters["requests"] += last - first + 1
        self._cpg.tell(bus.Request(self.epoch, [[session.number, first, last, blob]]))

    def _on_ack(self, session: Session, epoch: int, fields: list[Any]) -> None:
        if epoch == self.epoch and session.is_open:
            self._cpg.acknowledge(session.number, fields[0])

    def _on_bye(self, session: Session, _epoch: int, _fields: list[Any]) -> None:
        connection = session.connection
        self.sessions.close(session, Code.OK, "", bus.CloseReason.LEFT)
        if connection is not None:
            self.sessions.say_bye(connection, Code.OK, "")

    def detach(self, connection: bytes) -> None:
        """A connection has ended."""
        self.sessions.detach(connection)

    def _forget(self, connection: bytes) -> None:
        """A connection belongs to no session any more."""
        self._stamps.pop(connection, None)
        self._early.pop(connection, None)
        if self.control is not None:
            self.control.forget(connection)
        if self.sam is not None:
            self.sam.forget(connection)

    # -- to cpg and from it --------------------------------------------------------------------------------------

    def hello(self) -> None:
        """Send a hello to cpg on a new connection."""
        self.sessions.hello()

    def flush(self) -> None:
        """Send what was gathered in this turn of the loop."""
        self._cpg.flush()
        self.outboxes.flush()

    def on_cpg(self, envelope: bus.Envelope) -> None:
        """An envelope of cpg."""
        self._from_cpg.receive(envelope)

    def _welcomed(self) -> None:
        """cpg has reported the sessions and their owners."""
        early, self._early = self._early, {}
        for received in early.values():
            self.on_client(received)

    # -- to clients ----------------------------------------------------------------------------------------------

    def say_stopping(self) -> None:
        """This process is being stopped in order: tell the clients that asked for it before their connections end."""
        for session in self.registry:
            if session.is_open and session.connection is not None and session.flags & Flag.STOPPING:
                self.outboxes.send(session, encode(Kind.STOPPING, self.epoch, STOPPING_REASON))

    def on_sam(self, connection: bytes, number: int, code: int, blob: bytes) -> None:
        """SAM's answer to a request of a client."""
        if not self._clients.send(connection, encode(Kind.SAM_REPLY, 0, number, code, blob)):
            self._clients.hit(connection, "sam_replies_dropped")  # its client does not read; it may ask again

    def on_control(self, connection: bytes, number: int, code: int, blob: bytes) -> None:
        """control's answer to a request of a client."""
        if not self._clients.send(connection, encode(Kind.CONTROL_REPLY, 0, number, code, blob)):
            self._clients.hit(connection, "control_replies_dropped")  # its client does not read; it may ask again

    def _say_error(self, connection: bytes, code: int, text: str) -> None:
        self.outboxes.say_error(connection, self.epoch, code, text)
