"""How sessions begin, change their connection and end, and who is told: cpg, the client, the watch of processes.

A session outlives its connection, and its client may resume it on another one. It does not outlive its client.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, Protocol

from rondo.protocol import cpg_gateway as bus
from rondo.protocol.codes import Code
from services.ipc_gateway.credentials import Peer
from services.ipc_gateway.outboxes import Outboxes
from services.ipc_gateway.session_registry import Session, SessionRegistry
from services.ipc_gateway.to_cpg import ToCpg

NAME_CHARACTERS_MAX: Final = 64
REFUSED_LOG_INTERVAL_S: Final = 1.0

log = logging.getLogger("IPC_GATEWAY")


class Clients(Protocol):
    """What the sessions need of the listeners."""

    def send(self, connection: bytes, envelope: bytes, *, more: bool = False) -> bool: ...

    def must_speak(self, connection: bytes) -> None: ...

    def end(self, connection: bytes) -> bool: ...

    def hit(self, connection: bytes, bound: str) -> None: ...


class Sessions:
    """Begins and ends sessions; `registry` has the present ones."""

    def __init__(self, clients: Clients, cpg: ToCpg, forget: Callable[[bytes], object]) -> None:
        """`forget` is called for each connection that belongs to no session any more."""
        self.registry = SessionRegistry()
        self.counters: Counter[str] = Counter()
        self.watched_anew: list[Session] = []
        """Sessions whose process has to be watched; the owner clears it."""
        self.cpg = cpg
        self.outboxes = Outboxes(clients, self._cut_slow, self._drop)
        self._clients = clients
        self._forget = forget
        self._refused_logged = -REFUSED_LOG_INTERVAL_S

    def created(self, peer: Peer, name: str, flags: int, connection: bytes) -> Session | None:
        """A new session for this client. None if there is no room; the client is told."""
        if why := self.registry.why_full(peer):
            self.counters["refused"] += 1
            if (now := time.monotonic()) - self._refused_logged >= REFUSED_LOG_INTERVAL_S:
                self._refused_logged = now
                log.warning("a session of %s was refused: %s (%d so far)", peer, why, self.counters["refused"])
            self.say_bye(connection, Code.NO_RESOURCES, why)
            return None
        session = self.registry.create(peer, printable(name), flags)
        self.watched_anew.append(session)
        self.counters["sessions"] += 1
        return session

    def resumed(self, peer: Peer, resume: list[Any], connection: bytes) -> Session | None:
        """The session that this client resumes, if it is its own."""
        number, secret, epoch, position, settled = resume
        session = self.registry.get(number)
        if session is None or not self.registry.proves(session, peer, secret):
            return None
        session.secret = secret
        session.resume = [epoch, position, settled]
        session.is_open = False
        self.counters["resumed"] += 1
        if (former := session.connection) is not None and former != connection:
            self.forget_connection(former)
            self._clients.must_speak(former)
        return session

    def detach(self, connection: bytes) -> None:
        """A connection has ended. Its client may come back on another one. A client whose process is not visible is
        then considered dead, because the connection is the only sign of its life."""
        session = self.forget_connection(connection)
        if session is not None:
            session.away_deadline = time.monotonic() + session.resume_ms / 1000
            if session.peer.is_hidden or not session.is_process_alive():
                self.died(session)

    def forget_connection(self, connection: bytes) -> Session | None:
        """A connection belongs to nobody any more. Returns the session that used it."""
        self._forget(connection)
        if (session := self.registry.of_connection(connection)) is not None:
            self.outboxes.forget(session)
        return self.registry.detach(connection)

    def _drop(self, session: Session) -> None:
        """End the session's connection; its client may come back."""
        connection = session.connection
        if connection is not None:
            self.detach(connection)
            self._clients.end(connection)

    def died(self, session: Session) -> None:
        """The client process is dead."""
        self.counters["died"] += 1
        self.close(session, Code.LIBRARY, "the process is dead", bus.CloseReason.DIED)

    def give_up_absent(self, now: float) -> None:
        """Close sessions whose clients did not come back in time."""
        for session in self.registry:
            if session.connection is None and now >= session.away_deadline:
                why = f"the connection was lost for more than {session.resume_ms / 1000:g} s"
                self.close(session, Code.LIBRARY, why, bus.CloseReason.DIED)

    def hello(self) -> None:
        """Send a hello to cpg, on a new connection or when cpg does not know this gateway."""
        for session in self.registry:
            if session.is_open:
                session.resume = [self.cpg.epoch, session.position, session.settled]
                session.is_open = False
        self.cpg.hello()

    def open(self, opened: list[Session]) -> None:
        """Ask cpg to open or reopen these sessions."""
        if self.cpg.is_welcomed:
            for session in opened:
                session.is_open = False
            self.cpg.open(opened)

    def close(self, session: Session, code: int, reason: str, close_reason: bus.CloseReason) -> None:
        """End a session for this reason."""
        self.counters["closed"] += 1
        log.info("session %016x of %s: closed%s", session.number, who(session), f": {reason}" if reason else "")
        self.outboxes.forget(session)
        self.registry.remove(session, code, reason, close_reason)
        self.cpg.close(session.number, close_reason)

    def _cut_slow(self, session: Session, reason: str) -> None:
        self.cut(session, Code.NO_RESOURCES, reason)

    def cut(self, session: Session, code: int, reason: str) -> None:
        """End a session and tell its client the reason."""
        log.warning("session %016x of %s: cut off: %s", session.number, who(session), reason)
        self.counters["cut"] += 1
        connection = session.connection
        self.close(session, code, f"cut off: {reason}", bus.CloseReason.CUT)
        if connection is not None:
            self.say_bye(connection, code, f"cut off: {reason}")

    def say_bye(self, connection: bytes, code: int, reason: str) -> None:
        """Send the last message of a session."""
        self.outboxes.say_bye(connection, self.cpg.epoch, code, reason)


def printable(name: str) -> str:
    """A client's name in a form that is safe in a log."""
    return "".join(c if c.isprintable() else "?" for c in name[:NAME_CHARACTERS_MAX])


def who(session: Session) -> str:
    """The owner of a session, for a log."""
    return f"{session.name or 'process'} ({session.peer})"
