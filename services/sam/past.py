"""Applications that are over: how many are remembered, and which is forgotten first."""

import contextlib
from pathlib import Path

from services.sam.application import Application
from services.sam.quotas import OVER_MAX, OVER_PER_USER_MAX, Quotas
from services.sam.spec import Places
from services.sam.table import Table


class Past:
    """Forgets applications that are over. A user loses none of his because another user had many."""

    def __init__(self, applications: dict[str, Application], table: Table, places: Places, quotas: Quotas) -> None:
        self._applications = applications
        self._table = table
        self._places = places
        self._quotas = quotas

    def _over(self) -> list[Application]:
        """All applications that are over, the oldest first."""
        over = [each for each in self._applications.values() if each.is_over]
        return sorted(over, key=lambda each: each.history[-1].unix_time if each.history else 0.0)

    def see_to(self, uid: int) -> None:
        """One more application of this user is over: forget the oldest beyond the limit."""
        over = self._over()
        own = [each for each in over if each.owner.uid == uid]
        for oldest in own[:-OVER_PER_USER_MAX]:
            self.forget(oldest)
        others = [each for each in over if not self._quotas.favours(each.owner.uid) and each.id in self._applications]
        while len(others) > OVER_MAX:
            uids = [each.owner.uid for each in others]
            most = max(set(uids), key=uids.count)
            self.forget(others.pop(uids.index(most)))

    def make_room(self, uid: int, more_bytes: int, *, keep: Application) -> str:
        """Forget finished applications of this user until there is room for so many bytes. Returns why there is none,
        or ""."""
        while why := self._quotas.why_too_large(self._applications.values(), uid, more_bytes):
            own = [each for each in self._over() if each.owner.uid == uid and each is not keep]
            if not own:
                return why
            self.forget(own[0])
        return ""

    def forget(self, application: Application) -> None:
        """Remove all traces of it, as far as the disk permits."""
        del self._applications[application.id]
        self._table.remove(application.id)
        for path in self._places.files_of(application.id):
            with contextlib.suppress(OSError):
                Path(path).unlink()
