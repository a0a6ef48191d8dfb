"""What each user may take of SAM, so that enough is left for other users, and always for root.

The bounds are on applications, on the bytes of their command lines, environments and stored data (in memory and in the
state directory), and on the rate of started processes. Root and the node's own user are favoured: the limits per user
do not apply to them, and a quarter of each common limit is reserved for them.
"""

from collections.abc import Collection

from rondo.config.node import SamSettings
from services.sam.application import Application

APPLICATIONS_MAX = 1024
"""Applications of all users that run or wait."""
OVER_PER_USER_MAX = 100
"""How many finished applications of a user are remembered; the oldest is forgotten."""
OVER_MAX = 1000
"""The same for all users who are not favoured."""
STARTS_PER_S = 100.0
STARTS_MAX = 200.0
"""Processes - instances and checks - that may be started for a user: per second, and in one burst."""
START_BYTES = 64 * 1024
"""Each this many bytes of command line and environment count as one more start, since they are sent to the keeper."""
USERS_MAX = 4096
"""For this many users the recent starts are remembered."""


class Quotas:
    """The quotas, and who is favoured."""

    def __init__(self, settings: SamSettings, favoured: frozenset[int]) -> None:
        """`favoured`: root, and the node's own user."""
        self._settings = settings
        self._favoured = favoured
        self._starts: dict[int, tuple[float, float]] = {}
        """By user: how many more may be started, and when that was so (awake clock)."""

    def favours(self, uid: int) -> bool:
        """True if the limits per user do not apply to this one."""
        return uid in self._favoured

    def why_too_many(self, applications: Collection[Application], uid: int) -> str:
        """Why this user may not have another application; empty if he may."""
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
        """Why there is no room in the table for so many bytes of this user; empty if there is."""
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
        """What all users together may have who are not favoured."""
        return of_all - of_all // 4

    def may_start(self, application: Application, now_s: float) -> bool:
        """True if a process may be started for its owner now; it is then counted."""
        uid = application.owner.uid
        if self.favours(uid):
            return True
        cost = min(STARTS_MAX, 1 + application.command_bytes // START_BYTES)
        left, at_s = self._starts.get(uid, (STARTS_MAX, now_s))
        left = min(STARTS_MAX, left + (now_s - at_s) * STARTS_PER_S)
        if left < cost:
            return False
        if len(self._starts) >= USERS_MAX and uid not in self._starts:
            # After this long without a start a user has the full allowance again.
            full_s = STARTS_MAX / STARTS_PER_S
            self._starts = {user: entry for user, entry in self._starts.items() if now_s - entry[1] < full_s}
        self._starts[uid] = (left - cost, now_s)
        return True
