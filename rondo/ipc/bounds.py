"""What the users who may connect cost a router: connections, half frames, and answers that nobody reads.

Each user has an account, and all of them but the favoured (root and the node's own user) share another one, so that
many users together do not take what one alone may not. What is counted are bytes as they lie in this process.

Where an account is full, nobody loses anything that was promised. Who has connected first may go on; the others of the
account are read no further, or lose their connection, and a client that loses its connection resumes its session
on another one. Only who stands still while others wait for it loses its place.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

HITS_REMEMBERED_MAX = 256
"""Of so many (bound, user) it is remembered that they are to be told of; the counters count all."""
FAVOURED_TIMES = 4
"""So many times what a user may have, root and the node's own user may."""
STALL_S = 3.0
"""So long a connection that others wait for may stand still."""


class Bounds(NamedTuple):
    """How much there may be. One frame of any size may always be under way in each direction, besides."""

    connections_max: int
    """In all, ..."""
    connections_kept: int
    """... of which so many are kept back for the favoured."""
    connections_per_user_max: int
    silent_per_user_max: int
    """Connections that have not said yet what they are for."""
    read_bytes_per_user_max: int
    """Of frames that have not come whole, of one user; ..."""
    read_bytes_of_others_max: int
    """... of all users but the favoured."""
    unread_bytes_per_connection_max: int
    """Of envelopes that a connection does not read, ..."""
    unread_bytes_per_user_max: int
    unread_bytes_of_others_max: int
    favoured: frozenset[int]
    """User ids."""
    silent_s: float = 3.0
    """Who has not said by then what it is for loses its connection."""


class Hit(NamedTuple):
    """A bound was reached."""

    bound: str
    uid: int


class Account:
    """What one user has, or all that are not favoured."""

    def __init__(self, read_bytes_max: int, unread_bytes_max: int) -> None:
        self.connections = 0
        self.silent = 0
        self.read_bytes = 0
        self.unread_bytes = 0
        self.halves: dict[bytes, None] = {}
        """Connections with half a frame, the oldest first."""
        self.first: bytes | None = None
        """The oldest when somebody last looked, ..."""
        self.first_since_s = 0.0
        """... and since when others wait for it."""
        self.held: dict[bytes, None] = {}
        """Connections that are not read until there is room."""
        self.unread: dict[bytes, int] = {}
        """Bytes that each connection does not read, the oldest first."""
        self._read_bytes_max = read_bytes_max
        self._unread_bytes_max = unread_bytes_max

    def may_read(self, identity: bytes) -> bool:
        """Whether this connection may be read: there is room, or it is the first."""
        return self.read_bytes < self._read_bytes_max or next(iter(self.halves), None) == identity

    def is_overfull(self) -> bool:
        """Whether more is unread than may be."""
        return self.unread_bytes > self._unread_bytes_max

    def note_half(self, identity: bytes, before: int, now: int) -> None:
        """The bytes of a connection's half frame have changed."""
        self.read_bytes += now - before
        if not now:
            self.halves.pop(identity, None)
        elif not before:
            self.halves[identity] = None

    def note_unread(self, identity: bytes, before: int, now: int) -> None:
        """The bytes that a connection does not read have changed."""
        self.unread_bytes += now - before
        if now:
            self.unread[identity] = now
        else:
            self.unread.pop(identity, None)

    def largest(self) -> bytes | None:
        """Who reads least, besides the first that has something to read."""
        others = list(self.unread)[1:]
        return max(others, key=self.unread.__getitem__) if others else None


class Accounts:
    """All of them, for the connections of one router."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.counters: Counter[str] = Counter()
        """How often which bound was reached."""
        self._hits: Counter[Hit] = Counter()
        self._others = Account(bounds.read_bytes_of_others_max, bounds.unread_bytes_of_others_max)
        self._users: dict[int, Account] = {}
        self._uids: dict[bytes, int] = {}
        self._halves: dict[bytes, int] = {}
        self._unread: dict[bytes, int] = {}
        self._silent: dict[bytes, float] = {}
        """Until when each has to say what it is for, in their order."""

    def hit(self, bound: str, uid: int) -> None:
        """A bound was reached by this user."""
        self.counters[bound] += 1
        hit = Hit(bound, uid)
        if hit in self._hits or len(self._hits) < HITS_REMEMBERED_MAX:
            self._hits[hit] += 1

    def take_hits(self) -> dict[Hit, int]:
        """Which bounds were reached since the last call, by whom and how often."""
        hits, self._hits = dict(self._hits), Counter()
        return hits

    @property
    def totals(self) -> dict[str, int]:
        """What there is now: connections, those that have not said anything, bytes half read and unread."""
        return {
            "connections": len(self._uids),
            "silent_connections": len(self._silent),
            "half_frame_bytes": sum(self._halves.values()),
            "unread_bytes": sum(self._unread.values()),
        }

    # -- connections ---------------------------------------------------------------------------------------------

    def admits(self, uid: int) -> bool:
        """Whether this user may have one more connection; if not, that is noted."""
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
        """A connection was made."""
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
        """What a connection was for is over: it has to say something anew."""
        if identity in self._uids and identity not in self._silent:
            self._silent[identity] = now_s + self.bounds.silent_s
            for account in self._of(identity):
                account.silent += 1

    def has_spoken(self, identity: bytes) -> None:
        """A connection has said what it is for."""
        if self._silent.pop(identity, None) is not None:
            for account in self._of(identity):
                account.silent -= 1

    def close(self, identity: bytes) -> None:
        """A connection is over."""
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
        """Whether this connection may be read now; if not, `released` tells when to try again."""
        if not self._halves:
            return True
        held = [account for account in self._of(identity) if not account.may_read(identity)]
        for account in held:
            account.held[identity] = None
        if held:
            self.hit("half_frames_held", self._uids[identity])
        return not held

    def note_half(self, identity: bytes, size: int) -> None:
        """So many bytes of a frame that is not whole lie here for this connection."""
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
        """Connections that were held and may be read, or try."""
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
        """So many bytes wait until this connection reads."""
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
        """Whose connection ends because more waits for users than may, after this one has got more."""
        for account in self._of(identity):
            if account.is_overfull() and (largest := account.largest()) is not None:
                self.hit("unread_ended", self._uids[largest])
                return largest
        return None

    # -- time ----------------------------------------------------------------------------------------------------

    def overdue(self, now_s: float) -> list[bytes]:
        """Connections to end: those that have not said in time what they are for, and those that stand still with half
        a frame, or much unread, while others wait for that. To be asked about once a second."""
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
                # Those that wait with half a frame of their own go with it: one at a time would take for ever.
                for identity in (first, *(each for each in account.held if each in account.halves)):
                    if identity not in found:
                        found[identity] = None
                        self.hit("half_frames_ended", self._uids[identity])
        return list(found)
