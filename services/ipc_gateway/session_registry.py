"""All sessions. A session outlives its connection and this process, but not its client process."""

import hashlib
import hmac
import os
import secrets
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from rondo.node.process_watch import ProcessWatch, start_time_of
from rondo.protocol.client_gateway import VERSION
from rondo.protocol.cpg_gateway import KIND_SHIFT
from services.ipc_gateway.credentials import Peer
from services.ipc_gateway.remote import remote_pid

SESSIONS_PER_PROCESS_MAX: Final = 64
SESSIONS_PER_USER_MAX: Final = 1024
SESSIONS_MAX: Final = 10_240
SESSIONS_KEPT: Final = 64
"""Sessions reserved for root and the node's own user: this many, or an eighth of all if those are fewer."""
SECRET_BYTES: Final = 16
RESUME_MS: Final = 10_000
"""How long a session waits for its living client process to come back after its connection broke."""
RESUME_REMOTE_MS: Final = 3_000
"""The same for a remote client, of which nobody can tell whether it lives."""
ENDED_REMEMBERED_MAX: Final = 1024
"""For how many ended sessions the reason is remembered, for a client or a cpg that asks later."""

Resume = list[int]
"""[epoch, position, settled], as in OPEN of the bus."""


@dataclass(eq=False, slots=True)
class Session:
    """One session. `connection` is the routing id of its client; None while the client is away."""

    number: int
    peer: Peer
    start_time: int
    note: bytes
    """Digest of its secret; cpg keeps it for the next gateway."""
    secret: bytes = b""
    """Empty until a client has shown it to this process."""
    name: str = ""
    flags: int = 0
    version: int = VERSION
    """The version of the protocol that its client uses."""
    connection: bytes | None = None
    is_open: bool = False
    """True from OPENED until the session or the epoch ends."""
    resume: Resume | None = None
    """The place from which the next OPEN resumes; None for a new session."""
    position: int = 0
    """Position of the last events that were forwarded."""
    settled: int = 0
    event_blobs: int = 0
    """Batches of events that this process has forwarded."""
    next_request: int = 1
    is_repeating: bool = False
    """The client was told where to resume, and has not done so yet. What it sends meanwhile may be older."""
    in_flight: deque[tuple[int, int]] = field(default_factory=deque)
    """(last number, bytes) of the blobs that were forwarded and are not settled."""
    in_flight_bytes: int = 0
    outbox: deque[bytes] = field(default_factory=deque)
    """Envelopes for which its connection had no room."""
    outbox_bytes: int = 0
    outbox_largest: int = 0
    """Bytes of the largest envelope in the outbox since it was last empty."""
    away_deadline: float = 0.0
    """When the session is given up, while its client is away."""
    watch: ProcessWatch | None = None

    @property
    def resume_ms(self) -> int:
        """How long the session waits for its client to come back, in ms."""
        return RESUME_REMOTE_MS if self.peer.is_remote else RESUME_MS

    def settle(self, number: int) -> None:
        """Requests up to this one are settled."""
        self.settled = max(self.settled, number)
        while self.in_flight and self.in_flight[0][0] <= number:
            self.in_flight_bytes -= self.in_flight.popleft()[1]

    def detach(self) -> None:
        """The client is away. It will ask again for what was not delivered."""
        self.connection = None
        self.outbox.clear()
        self.outbox_bytes = self.outbox_largest = 0

    def is_process_alive(self) -> bool:
        """True if the client process lives: the same process, not a later one with its pid."""
        if self.watch is None:
            return True  # a remote client, or one in another pid namespace: only its connection is known
        return self.watch.is_alive() and start_time_of(self.peer.pid) in (self.start_time, 0)


def _start_of(peer: Peer) -> int:
    """What tells a client from an earlier one with the same pid: the start time, or the key."""
    return peer.key if peer.is_remote else start_time_of(peer.pid)


def _counted(peer: Peer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The owner and the process under which a session is counted."""
    return (peer.uid, peer.key), (peer.uid, peer.key, peer.pid)


def digest(secret: bytes) -> bytes:
    """The digest of a secret, for cpg to keep."""
    return hashlib.sha256(b"rondo session" + secret).digest()


class SessionRegistry:
    """All sessions, and the reasons why the last ones ended."""

    def __init__(self) -> None:
        self.sessions_max = SESSIONS_MAX
        """Lower if the limit of open files does not allow so many."""
        self._sessions: dict[int, Session] = {}
        self._by_connection: dict[bytes, Session] = {}
        self._ended: OrderedDict[int, tuple[int, str, int]] = OrderedDict()
        self._counts: Counter[tuple[int, ...]] = Counter()
        """How many sessions each owner (uid, key) and each process (uid, key, pid) has; none is zero."""
        self._remote_pids: set[int] = set()
        self._favoured = {0, os.geteuid()}
        self._others = 0
        """Sessions of all users but the favoured."""

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, number: int) -> Session | None:
        """The session of that number."""
        return self._sessions.get(number)

    def of_connection(self, connection: bytes) -> Session | None:
        """The session to which this connection belongs."""
        return self._by_connection.get(connection)

    def why_full(self, peer: Peer) -> str:
        """Why this process may not have another session; empty if it may."""
        owner, process = _counted(peer)
        if not peer.is_remote and self._counts[process] >= SESSIONS_PER_PROCESS_MAX:
            return f"process {peer.pid} has {SESSIONS_PER_PROCESS_MAX} sessions already; close some"
        if self._counts[owner] >= SESSIONS_PER_USER_MAX:
            who = f"the client with key {peer.key:016x}..." if peer.is_remote else f"user {peer.uid}"
            return f"{who} has {SESSIONS_PER_USER_MAX} sessions already; close some"
        kept = min(SESSIONS_KEPT, self.sessions_max // 8)
        is_full_for_others = self._others >= self.sessions_max - kept and peer.uid not in self._favoured
        if len(self._sessions) >= self.sessions_max or is_full_for_others:
            lacking = self.sessions_max < SESSIONS_MAX
            why = ": its limit of open files allows no more; raise it there" if lacking else ""
            return f"the node has {self.sessions_max} sessions already{why}"
        return ""

    def create(self, peer: Peer, name: str, flags: int) -> Session:
        """A new session of this process. A process without a pid here gets a number instead."""
        if peer.is_remote or peer.is_hidden:
            peer = peer._replace(pid=self._unused_remote_pid())
        secret = secrets.token_bytes(SECRET_BYTES)
        number = secrets.randbelow((1 << KIND_SHIFT) - 1) + 1
        session = Session(number, peer, _start_of(peer), digest(secret), secret, name, flags)
        self._add(session)
        return session

    def _unused_remote_pid(self) -> int:
        return next(pid for pid in iter(remote_pid, 0) if pid not in self._remote_pids)

    def adopt(self, number: int, peer: Peer, start_time: int, flags: int, note: bytes) -> Session:
        """A session of an earlier gateway, as cpg reports it."""
        if peer.is_remote:
            peer = peer._replace(key=start_time)
        session = Session(number, peer, start_time, note, flags=flags)
        self._add(session)
        return session

    def _add(self, session: Session) -> None:
        if not session.peer.is_remote and not session.peer.is_hidden:
            session.watch = ProcessWatch(session.peer.pid)
        self._sessions[session.number] = session
        self._counts.update(_counted(session.peer))
        self._others += session.peer.uid not in self._favoured
        if session.watch is None:
            self._remote_pids.add(session.peer.pid)

    def _subtract(self, peer: Peer) -> None:
        self._others -= peer.uid not in self._favoured
        for each in _counted(peer):
            self._counts[each] -= 1
            if not self._counts[each]:
                del self._counts[each]
        self._remote_pids.discard(peer.pid)

    def proves(self, session: Session, peer: Peer, secret: bytes) -> bool:
        """True if this is the client that owns the session: the same process, with the secret that only it was told."""
        has_its_pid = session.peer.pid == peer.pid or (peer.is_hidden and session.peer.is_hidden)
        same = session.peer[:2] == peer[:2] and (peer.is_remote or has_its_pid)
        return same and session.start_time == _start_of(peer) and hmac.compare_digest(session.note, digest(secret))

    def attach(self, session: Session, connection: bytes) -> None:
        """The session now uses this connection."""
        if session.connection is not None:
            self._by_connection.pop(session.connection, None)
        session.detach()
        session.connection = connection
        self._by_connection[connection] = session

    def detach(self, connection: bytes) -> Session | None:
        """That connection is gone. Returns the session that used it."""
        session = self._by_connection.pop(connection, None)
        if session is not None:
            session.detach()
        return session

    def remove(self, session: Session, code: int, reason: str, close_reason: int) -> None:
        """End a session."""
        if self._sessions.pop(session.number, None) is not None:
            self._subtract(session.peer)
        if session.connection is not None:
            self._by_connection.pop(session.connection, None)
        if session.watch is not None:
            session.watch.close()
        self._ended[session.number] = (code, reason, close_reason)
        if len(self._ended) > ENDED_REMEMBERED_MAX:
            self._ended.popitem(last=False)

    def why_ended(self, number: int) -> tuple[int, str, int] | None:
        """Code, reason and CloseReason of a session that ended."""
        return self._ended.get(number)
