"""Queues of envelopes for clients that do not read.

No other client waits for such a client. The queues are bounded for each session, for each user, and for all users but
root and the node's own. A session whose queue exceeds its bound is cut off. If the queues of a user exceed theirs, the
session with the most queued loses its connection. Its client reconnects and resumes the session, and gets again what it
had not acknowledged. So nothing is lost when many clients are slow, and not reading gains nothing.
"""

import os
from collections.abc import Callable
from typing import Final, Protocol

from rondo.ipc.bounds import FAVOURED_TIMES
from rondo.protocol.client_gateway import Kind, encode
from services.ipc_gateway.session_registry import Session

MIB: Final = 1024 * 1024
SESSION_BYTES_MAX: Final = 24 * MIB
"""What may wait for one session besides its largest envelope. Of these, events are at most the 4 MiB that cpg sends
unacknowledged; the rest are answers."""
USER_BYTES_MAX: Final = 64 * MIB
"""What may wait for all sessions of a user, except the one that has waited longest. Root and the node's own user may
have four times as much."""
OTHERS_BYTES_MAX: Final = 96 * MIB
"""The same for all users but root and the node's own."""
OVERHEAD_BYTES: Final = 64
"""What a queued envelope takes besides its bytes."""
Owner = tuple[int, int]
"""uid, and the key of a remote client."""


class Clients(Protocol):
    """What the outboxes need of the listeners."""

    def send(self, connection: bytes, envelope: bytes, *, more: bool = False) -> bool: ...

    def must_speak(self, connection: bytes) -> None: ...

    def hit(self, connection: bytes, bound: str) -> None: ...


class Outboxes:
    """The queues of all sessions."""

    def __init__(
        self,
        clients: Clients,
        cut: Callable[[Session, str], None],
        drop: Callable[[Session], None],
    ) -> None:
        """`cut` ends a session with a reason, `drop` only its connection. Both call `forget`."""
        self._clients = clients
        self._cut, self._drop = cut, drop
        self._blocked: dict[Session, None] = {}
        """Sessions with queued envelopes, the longest waiting first."""
        self._of_owner: dict[Owner, int] = {}
        """By owner: queued bytes; none is zero."""
        self._of_others = 0
        self._favoured = {0, os.geteuid()}

    @property
    def has_blocked(self) -> bool:
        """True if something is queued."""
        return bool(self._blocked)

    @property
    def total_bytes(self) -> int:
        """All queued bytes."""
        return sum(self._of_owner.values())

    def send(self, session: Session, envelope: bytes) -> None:
        """Send, or queue until there is room."""
        if session.connection is None:
            return
        if session.outbox or not self._clients.send(session.connection, envelope):
            self.keep(session, envelope)

    def keep(self, session: Session, envelope: bytes) -> None:
        """Queue until the end of this turn, or until there is room."""
        session.outbox.append(envelope)
        self._blocked[session] = None
        self._count(session, len(envelope) + OVERHEAD_BYTES)
        session.outbox_largest = max(session.outbox_largest, len(envelope))
        if session.outbox_bytes - session.outbox_largest > SESSION_BYTES_MAX:
            self._cut(session, f"too slow: {session.outbox_bytes} bytes wait for being read")
            return
        owner = _owner(session)
        user_bytes_max = USER_BYTES_MAX * (FAVOURED_TIMES if session.peer.uid in self._favoured else 1)
        while self._of_owner.get(owner, 0) > user_bytes_max and self._make_room(lambda each: _owner(each) == owner):
            pass
        while self._of_others > OTHERS_BYTES_MAX and self._make_room(lambda each: each.peer.uid not in self._favoured):
            pass

    def _make_room(self, concerns: Callable[[Session], bool]) -> bool:
        """Of the sessions that `concerns` selects, the one with the most queued loses its connection. The one that has
        waited longest is spared. False if there is no other."""
        others = [each for each in self._blocked if concerns(each)][1:]
        largest = max(others, key=lambda each: each.outbox_bytes, default=None)
        if largest is None:
            return False
        if largest.connection is not None:
            self._clients.hit(largest.connection, "unread_ended")
        if largest.peer.is_remote or largest.peer.is_hidden:
            # Such a client is known only by its connection, so the session ends with it.
            self._cut(largest, "too slow: too much waits for the sessions of its user")
        else:
            self._drop(largest)
        return True

    def _count(self, session: Session, size: int) -> None:
        session.outbox_bytes += size
        owner = _owner(session)
        queued = self._of_owner.get(owner, 0) + size
        if queued:
            self._of_owner[owner] = queued
        else:
            del self._of_owner[owner]
        if session.peer.uid not in self._favoured:
            self._of_others += size

    def forget(self, session: Session) -> None:
        """The session or its connection is over: drop its queue."""
        if self._blocked.pop(session, self) is not self:
            session.outbox.clear()
            session.outbox_largest = 0
            self._count(session, -session.outbox_bytes)

    def flush(self) -> None:
        """Send queued envelopes as far as there is room."""
        for session in list(self._blocked):
            outbox = session.outbox
            while outbox and session.connection is not None:
                if not self._clients.send(session.connection, outbox[0], more=len(outbox) > 1):
                    break
                self._count(session, -len(outbox.popleft()) - OVERHEAD_BYTES)
            if not outbox:
                session.outbox_largest = 0
                self._blocked.pop(session, None)

    # -- without a session ---------------------------------------------------------------------------------------

    def say_bye(self, connection: bytes, epoch: int, code: int, reason: str) -> None:
        """End a session with a last message. Without room for it, the client learns of the end when it next sends
        something."""
        self._clients.send(connection, encode(Kind.BYE, epoch, code, reason))
        self._clients.must_speak(connection)

    def say_error(self, connection: bytes, epoch: int, code: int, text: str) -> None:
        """Tell a client that its envelope was dropped. It ends nothing, and concerns no other client."""
        self._clients.send(connection, encode(Kind.ERROR, epoch, code, text))


def _owner(session: Session) -> Owner:
    return session.peer.uid, session.peer.key
