"""What each user may take of SAM, so that enough is left for the others, and always for root.

What is bounded are applications, the bytes of their command lines, environments and stored data (in memory and in the
state directory), and how often processes are started. Root and the node's own user are favoured: the limits per user
are not for them, and a quarter of what is for all is theirs alone.
"""

from collections.abc import Collection

from rondo.config.node import SamSettings
from services.sam.application import Application

APPLICATIONS_MAX = 1024
"""That run or wait, of all users."""
OVER_PER_USER_MAX = 100
"""So many applications of a user that are over are remembered; the oldest is forgotten."""
OVER_MAX = 1000
"""And of all users who are not favoured."""
STARTS_PER_S = 100.0
STARTS_MAX = 200.0
"""Processes - instances and checks - that are started for a user: in a second, and at once."""
START_BYTES = 64 * 1024
"""Each so many bytes of command line and environment count as one more: they are handed to the keeper each time."""
USERS_MAX = 4096
"""Of so many it is remembered how much they started lately."""


class Quotas:
    """All of them, and who is favoured."""

    def __init__(self, settings: SamSettings, favoured: frozenset[int]) -> None:
        """`favoured`: root, and the node's own user."""
        self._settings = settings
        self._favoured = favoured
        self._starts: dict[int, tuple[float, float]] = {}
        """Of each user: how many more may be started, and when that was so (awake clock)."""

    def favours(self, uid: int) -> bool:
        """Whether the limits per user are not for this one."""
        return uid in self._favoured

    def why_too_many(self, applications: Collection[Application], uid: int) -> str:
        """Why this user cannot have another application; empty if he can."""
        running = [each.owner.uid for each in applications if not each.is_over]
        if len(running) >= APPLICATIONS_MAX:
            return f"this node manages {APPLICATIONS_MAX} applications already"
        if self.favours(uid):
            return ""
        if running.count(uid) >= self._settings.applications_per_user_max:
            return (
                f"user {uid} has {self._settings.applications_per_user_max} applications already "
                "(sam.applications_per_user_max)"
            )
        if sum(not self.favours(each) for each in running) >= self._share(APPLICATIONS_MAX):
            return f"the users of this node have {self._share(APPLICATIONS_MAX)} applications already"
        return ""

    def why_too_large(self, applications: Collection[Application], uid: int, more_bytes: int) -> str:
        """Why there is no room for so many bytes of this user in the table; empty if there is."""
        settings = self._settings
        taken = [(each.owner.uid, each.table_bytes) for each in applications]
        if sum(size for _, size in taken) + more_bytes > settings.table_bytes_max:
            return f"the applications of this node take {settings.table_bytes_max} bytes already (sam.table_bytes_max)"
        if self.favours(uid):
            return ""
        if sum(size for owner, size in taken if owner == uid) + more_bytes > settings.table_bytes_per_user_max:
            return (
                f"the applications of user {uid} would take more than {settings.table_bytes_per_user_max} bytes "
                "(sam.table_bytes_per_user_max)"
            )
        if sum(size for owner, size in taken if not self.favours(owner)) + more_bytes > self._share(
            settings.table_bytes_max
        ):
            return f"the users of this node take {self._share(settings.table_bytes_max)} bytes of SAM's table already"
        return ""

    @staticmethod
    def _share(of_all: int) -> int:
        """What those may have together who are not favoured."""
        return of_all - of_all // 4

    def may_start(self, application: Application, now_s: float) -> bool:
        """Whether a process may be started for its owner now; if so, it is counted."""
        uid = application.owner.uid
        if self.favours(uid):
            return True
        cost = min(STARTS_MAX, 1 + application.command_bytes // START_BYTES)
        left, at_s = self._starts.get(uid, (STARTS_MAX, now_s))
        left = min(STARTS_MAX, left + (now_s - at_s) * STARTS_PER_S)
        if left < cost:
            return False
        if len(self._starts) >= USERS_MAX and uid not in self._starts:
            # Whoever started nothing for this long has all of it again.
            full_s = STARTS_MAX / STARTS_PER_S
            self._starts = {user: entry for user, entry in self._starts.items() if now_s - entry[1] < full_s}
        self._starts[uid] = (left - cost, now_s)
        return True
