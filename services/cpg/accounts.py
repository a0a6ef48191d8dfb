"""What the sessions of one user hold in this process: requests that wait, events not acknowledged, groups.

A session has bounds of its own, but a user may have a thousand sessions. Root and the node's own user are counted, and
not bound. (What memberships take is bounded by their number: `quotas`.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

QUEUED_BYTES_PER_USER_MAX: Final = 64 * 1024 * 1024
"""Requests of all sessions of a user that wait; more are refused with TRY_AGAIN. That is what twenty sessions with full
windows have on their way."""

EVENTS_PER_USER: Final = 4
"""Events of all sessions of a user may take so many times `cpg.client_bytes_max`. Then the one with most is cut off."""

ROOT_UID: Final = 0
USERS_TOLD_MAX: Final = 16


class Account:
    """Of one user."""

    def __init__(self, uid: int, *, is_bound: bool) -> None:
        self.uid = uid
        self.is_bound = is_bound
        """Whether the bounds hold for this user."""
        self.sessions = 0
        self.groups = 0
        """Groups in which its sessions will be, once all that they asked for is done."""
        self.queued_bytes = 0
        self.event_bytes = 0

    def is_full(self) -> bool:
        """Whether no more requests may wait."""
        return self.is_bound and self.queued_bytes >= QUEUED_BYTES_PER_USER_MAX

    def has_too_many_events(self, client_bytes_max: int) -> bool:
        """Whether one of the user's sessions has to go."""
        return self.is_bound and self.event_bytes > EVENTS_PER_USER * client_bytes_max


class Accounts:
    """Of all users who have sessions."""

    def __init__(self, owner_uid: int) -> None:
        self.owner_uid = owner_uid
        """The node's own user."""
        self._accounts: dict[int, Account] = {}

    def __iter__(self) -> Iterator[Account]:
        """All."""
        return iter(self._accounts.values())

    def enter(self, uid: int) -> Account:
        """The account for one more session of this user."""
        account = self._accounts.get(uid)
        if account is None:
            account = self._accounts[uid] = Account(uid, is_bound=uid not in (ROOT_UID, self.owner_uid))
        account.sessions += 1
        return account

    def leave(self, account: Account) -> None:
        """One session less."""
        account.sessions -= 1
        if not account.sessions:
            del self._accounts[account.uid]

    def told(self) -> list[dict[str, int]]:
        """For people: the users who hold most."""
        most = sorted(self._accounts.values(), key=lambda each: -each.queued_bytes - each.event_bytes)[:USERS_TOLD_MAX]
        return [
            {
                "uid": each.uid,
                "sessions": each.sessions,
                "groups": each.groups,
                "queued_bytes": each.queued_bytes,
                "event_bytes": each.event_bytes,
            }
            for each in most
        ]
