"""Bounds on what local users may take of a router: connections, half-received frames, and unread answers.

Each user has an account. All users but the favoured (root and the node's own user) also share one more account, so that
many users together do not take what one alone may not. Bytes are counted as they lie in this process's memory.

A full account breaks no promise. The connection that is served first may go on. The others of the account are read no
further, or lose their connection; a client that loses its connection resumes its session on another one. Only a
connection that stands still while others wait for it loses its place.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

HITS_REMEMBERED_MAX: Final = 256
"""At most this many pairs (bound, user) are remembered for the next report; the counters count every hit."""
FAVOURED_TIMES: Final = 4
"""Root and the node's own user may have this many times what any other user may."""
STALL_S: Final = 3.0
"""How long a connection may stand still while others wait for it."""


class Bounds(NamedTuple):
    """The bounds of a router. One frame of any size may always be under way in each direction, besides."""

    connections_max: int
    """Connections in all, ..."""
    connections_kept: int
    """... of which so many are reserved for the favoured."""
    connections_per_user_max: int
    silent_per_user_max: int
    """Connections that have not said yet what they are for, of one user."""
    read_bytes_per_user_max: int
    """Bytes of half-received frames, of one user; ..."""
    read_bytes_of_others_max: int
    """... of all users but the favoured together."""
    unread_bytes_per_connection_max: int
    """Bytes of envelopes that one connection does not read, ..."""
    unread_bytes_per_user_max: int
    unread_bytes_of_others_max: int
    favoured: frozenset[int]
    """User ids of root and the node's own user."""
    silent_s: float = 3.0
    """A connection that has not said by then what it is for is closed."""


class Hit(NamedTuple):
    """A bound was reached."""

    bound: str
    uid: int


class Account:
    """What one user takes, or all users together that are not favoured."""

    def __init__(self, read_bytes_max: int, unread_bytes_max: int) -> None:
        self.connections = 0
        self.silent = 0
        self.read_bytes = 0
        self.unread_bytes = 0
        self.halves: dict[bytes, None] = {}
        """Connections with a half-received frame, the oldest first."""
        self.first: bytes | None = None
        """The oldest of them at the last check, ..."""
        self.first_since_s = 0.0
        """... and the time since which others have waited for it."""
        self.held: dict[bytes, None] = {}
        """Connections that are not read until there is room."""
        self.unread: dict[bytes, int] = {}
        """By connection: bytes that it has not read, the oldest first."""
        self._read_bytes_max = read_bytes_max
        self._unread_bytes_max = unread_bytes_max

    def may_read(self, identity: bytes) -> bool:
        """True if this connection may be read: there is room, or it is the first."""
        return self.read_bytes < self._read_bytes_max or next(iter(self.halves), None) == identity

    def is_overfull(self) -> bool:
        """True if more is unread than allowed."""
        return self.unread_bytes > self._unread_bytes_max

    def note_half(self, identity: bytes, before: int, now: int) -> None:
        """Record that the bytes of a connection's half-received frame have changed."""
        self.read_bytes += now - before
        if not now:
            self.halves.pop(identity, None)
        elif not before:
            self.halves[identity] = None

    def note_unread(self, identity: bytes, before: int, now: int) -> None:
        """Record that the bytes that a connection has not read have changed."""
        self.unread_bytes += now - before
        if now:
            self.unread[identity] = now
        else:
            self.unread.pop(identity, None)

    def largest(self) -> bytes | None:
        """The connection with the most unread bytes, except the oldest."""
        others = list(self.unread)[1:]
        return max(others, key=self.unread.__getitem__) if others else None


class Accounts:
    """The accounts of all users of one router."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.counters: Counter[str] = Counter()
        """By bound: how often it was reached."""
        self._hits: Counter[Hit] = Counter()
        self._others = Account(bounds.read_bytes_of_others_max, bounds.unread_bytes_of_others_max)
        self._users: dict[int, Account] = {}
        self._uids: dict[bytes, int] = {}
        self._halves: dict[bytes, int] = {}
        self._unread: dict[bytes, int] = {}
        self._silent: dict[bytes, float] = {}
        """By connection: the time by which it must say what it is for, in ascending order."""

    def hit(self, bound: str, uid: int) -> None:
        """Record that this user has reached a bound."""
        self.counters[bound] += 1
        hit = Hit(bound, uid)
        if hit in self._hits or len(self._hits) < HITS_REMEMBERED_MAX:
            self._hits[hit] += 1

    def take_hits(self) -> dict[Hit, int]:
        """The bounds that were reached since the last call, by which user and how often."""
        hits, self._hits = dict(self._hits), Counter()
        return hits

    @property
    def totals(self) -> dict[str, int]:
        """Present totals: connections, connections that have said nothing, bytes half-received, bytes unread."""
        return {
            "connections": len(self._uids),
            "silent_connections": len(self._silent),
            "half_frame_bytes": sum(self._halves.values()),
            "unread_bytes": sum(self._unread.values()),
        }

    # -- connections ---------------------------------------------------------------------------------------------

    def admits(self, uid: int) -> bool:
        """True if this user may have one more connection. A refusal is counted."""
        bounds, account = self.bounds, self._users.get(uid)
        full = len(self._uids) >= bounds.connections_max
        if uid not in bounds.favoured:
            full = full or self._others.connections >= bounds.connections_max - bounds.connections_kept
            full = full or (account is not None and account.connections >= bounds.connections_per_user_max)
        if full:
            self.hit("connections_refused", uid)
            return False
        if account is not None and uid not in bounds.favoured and account.silent >= bounds.silent_per_user_max:
            self.hit("silent_refused", uid)
            return False
        return True

    def open(self, identity: bytes, uid: int, now_s: float) -> None:
        """Record a new connection."""
        bounds = self.bounds
        self._uids[identity] = uid
        if uid not in self._users:
            times = FAVOURED_TIMES if uid in bounds.favoured else 1
            self._users[uid] = Account(times * bounds.read_bytes_per_user_max, times * bounds.unread_bytes_per_user_max)
        self._silent[identity] = now_s + bounds.silent_s
        for account in self._of(identity):
            account.connections += 1
            account.silent += 1

    def must_speak(self, identity: bytes, now_s: float) -> None:
        """What the connection was for has ended: it must say again what it is for."""
        if identity in self._uids and identity not in self._silent:
            self._silent[identity] = now_s + self.bounds.silent_s
            for account in self._of(identity):
                account.silent += 1

    def has_spoken(self, identity: bytes) -> None:
        """The connection has said what it is for."""
        if self._silent.pop(identity, None) is not None:
            for account in self._of(identity):
                account.silent -= 1

    def close(self, identity: bytes) -> None:
        """Record the end of a connection."""
        self.has_spoken(identity)
        self.note_half(identity, 0)
        self.note_unread(identity, 0)
        for account in self._of(identity):
            account.connections -= 1
            account.held.pop(identity, None)
        uid = self._uids.pop(identity)
        if not self._users[uid].connections:
            del self._users[uid]

    def _of(self, identity: bytes) -> tuple[Account, ...]:
        uid = self._uids[identity]
        own = self._users[uid]
        return (own,) if uid in self.bounds.favoured else (own, self._others)

    # -- what comes ----------------------------------------------------------------------------------------------

    def may_read(self, identity: bytes) -> bool:
        """True if this connection may be read now. Otherwise `released` tells when to try again."""
        if not self._halves:
            return True
        held = [account for account in self._of(identity) if not account.may_read(identity)]
        for account in held:
            account.held[identity] = None
        if held:
            self.hit("half_frames_held", self._uids[identity])
        return not held

    def note_half(self, identity: bytes, size: int) -> None:
        """Record how many bytes of a half-received frame this connection has here."""
        before = self._halves.get(identity, 0)
        if size == before:
            return
        if size:
            self._halves[identity] = size
        else:
            del self._halves[identity]
        for account in self._of(identity):
            account.note_half(identity, before, size)

    def released(self) -> list[bytes]:
        """Connections that were held and may be read again."""
        found: list[bytes] = []
        for account in (self._others, *self._users.values()):
            if account.held:
                now = [identity for identity in account.held if account.may_read(identity)]
                for identity in now:
                    del account.held[identity]
                found += now
        return found

    # -- what goes -----------------------------------------------------------------------------------------------

    def note_unread(self, identity: bytes, size: int) -> None:
        """Record how many bytes wait until this connection reads."""
        before = self._unread.get(identity, 0)
        if size == before:
            return
        if size:
            self._unread[identity] = size
        else:
            del self._unread[identity]
        for account in self._of(identity):
            account.note_unread(identity, before, size)

    def who_must_go(self, identity: bytes) -> bytes | None:
        """The connection to close because too much is unread after this one has got more; None if none has to."""
        for account in self._of(identity):
            if account.is_overfull() and (largest := account.largest()) is not None:
                self.hit("unread_ended", self._uids[largest])
                return largest
        return None

    # -- time ----------------------------------------------------------------------------------------------------

    def overdue(self, now_s: float) -> list[bytes]:
        """Connections to close: those that have not said in time what they are for, and those that stand still with a
        half-received frame while others wait for it. Call it about once a second."""
        found: dict[bytes, None] = {}
        for identity, until_s in self._silent.items():
            if until_s > now_s:
                break
            found[identity] = None
            self.hit("silent_ended", self._uids[identity])
        for account in (self._others, *self._users.values()):
            first = next(iter(account.halves), None)
            if first is None or first != account.first or not account.held:
                account.first, account.first_since_s = first, now_s
            elif now_s >= account.first_since_s + STALL_S:
                # Held connections with half-received frames of their own are closed with it: one at a time would take
                # too long.
                for identity in (first, *(each for each in account.held if each in account.halves)):
                    if identity not in found:
                        found[identity] = None
                        self.hit("half_frames_ended", self._uids[identity])
        return list(found)
