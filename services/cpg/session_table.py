"""The table of sessions: how they are opened, anew or again, and how far they have come.

A session outlives the gateway's connection, the gateway and this process. Which part of its events it has had, and
which requests were taken, is told when it is opened again, so that nothing is done twice and nothing is left out.
"""

from __future__ import annotations

import os
from typing import Any

from rondo.protocol.codes import Code
from rondo.protocol.cpg_gateway import OpenFlag
from rondo.protocol.events import encode_events
from services.cpg.accounts import Account, Accounts
from services.cpg.core import Core
from services.cpg.laggards import Laggards
from services.cpg.sessions import Blob, Session


class SessionTable:
    """All sessions of this node."""

    def __init__(self) -> None:
        self.core = Core(0)
        self.epoch = 0
        self.core_floor = 0
        """Position that totem's log begins after: what is older cannot be given again."""
        self.table: dict[int, Session] = {}
        self.laggards = Laggards()
        self._of_process: dict[int, list[Session]] = {}
        """By the process's number."""
        self.accounts = Accounts(os.geteuid())
        self.changed = False
        """Whether what totem keeps of the table has to be renewed."""
        self.taken_of_unknown: dict[int, int] = {}
        """Last requests taken of sessions that are not in the table (they may come back)."""

    def open_one(self, row: list[Any]) -> tuple[Code, int]:
        """Open a session as an OPEN of the gateway asks for it. Gives the code, and the position it goes on from."""
        ident, pid, start_time, uid, gid, flags, note, resume = row
        session = self.table.get(ident)
        now = self.core.n
        if session is not None and session.closing:
            return Code.NOT_EXIST if resume is not None else Code.EXIST, 0
        if resume is None:
            if session is None:
                session = self._add(Session(ident, pid, start_time, uid, gid, flags, note), now)
            elif session.who() != row[:7]:
                return Code.EXIST, 0
            position, settled = session.handled(now), session.settled()
        else:
            epoch, position, settled = resume
            if epoch != self.epoch:
                # As new, but for its numbers. It may have been opened in this epoch before, and not know it.
                session = session or self._add(Session(ident, pid, start_time, uid, gid, flags, note), now)
                if session.epoch != self.epoch:
                    session.opened_at = session.floor = session.acked = now
                    self.changed = True
                position = session.acked
            elif session is None:
                if not self.core_floor <= position <= now:
                    return Code.NOT_EXIST, 0
                session = self._add(Session(ident, pid, start_time, uid, gid, flags, note), position)
                self._catch_up(session, position)
            elif position > now:
                # (Below what is acknowledged is well: there were no events for it in between.)
                return Code.NOT_EXIST, 0
        self._identify(session, row)
        session.epoch = self.epoch
        session.attached = True
        session.drop_queue()
        session.intend(self.core.groups_of(ident))
        session.expected = settled + 1
        session.settled_told = settled
        session.resume(position)
        return Code.OK, position

    def _add(self, session: Session, position: int) -> Session:
        session.opened_at = session.floor = session.acked = position
        session.taken = session.submitted = self.taken_of_unknown.pop(session.ident, 0)
        self.put_back(session)
        self.changed = True
        return session

    def put_back(self, session: Session) -> None:
        """One that was in the table of a cpg before this one."""
        self.table[session.ident] = session
        self._of_process.setdefault(session.pid, []).append(session)
        session.charge_to(self.accounts.enter(session.uid))

    def take_out(self, ident: int) -> bool:
        """Forget one, and what is kept of it: whether it was there."""
        session = self.table.pop(ident, None)
        if session is None:
            return False
        session.drop_events()
        self.laggards.forget(session)
        self._leave_process(session)
        account = session.account
        session.charge_to(Account(session.uid, is_bound=False))
        self.accounts.leave(account)
        return True

    def _leave_process(self, session: Session) -> None:
        siblings = self._of_process[session.pid]
        siblings.remove(session)
        if not siblings:
            del self._of_process[session.pid]

    def siblings(self, session: Session) -> list[Session]:
        """The sessions of its process, this one too."""
        return self._of_process[session.pid]

    def _identify(self, session: Session, row: list[Any]) -> None:
        """Take over what the gateway knows better (a session that was found in the log has no more than its pid)."""
        if session.who() != row[:7]:
            self._leave_process(session)
            session.identify(*row[1:7])
            self._of_process.setdefault(session.pid, []).append(session)
            account = session.account
            session.charge_to(self.accounts.enter(session.uid))
            self.accounts.leave(account)
            self.changed = True
        if session.flags & OpenFlag.RING_EVENTS:
            self.core.ring_listeners.add(session.ident)

    def _catch_up(self, session: Session, position: int) -> None:
        """Give a session that was not known when the log was evaluated the ring events that it missed."""
        missed = [event for event in self.core.rings if event[0] > position]
        if missed and session.flags & OpenFlag.RING_EVENTS:
            session.put(Blob(missed[0][0], missed[-1][0], encode_events(missed)))
            self.laggards.add(session)

    def adopt(self, ident: int, pid: int) -> Session:
        """A session that is known only from the log: the gateway has to say whether it lives."""
        session = self._add(Session(ident, pid, 0, 0, 0, 0, b""), 0)
        session.acked = self.core_floor
        return session

    def handled(self) -> int:
        """Position up to which no session that the log waits for has anything outstanding."""
        head = self.core.n
        first = self.laggards.first()
        return head if first is None else min(head, first.handled(head))

    def hoarder(self, account: Account) -> Session | None:
        """Of several sessions of a user that hold events, the one that holds most."""
        holders = [each for each in self.table.values() if each.account is account and each.event_bytes]
        return max(holders, key=lambda each: each.event_bytes) if len(holders) > 1 else None

    def laggard(self) -> Session | None:
        """The session that holds back the log most."""
        first = self.laggards.first()
        return first if first is not None and first.handled(self.core.n) < self.core.n else None
