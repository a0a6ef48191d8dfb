"""Which session has handled least, so that totem's log waits for it; found without a look at all sessions.

There may be thousands, and after each batch of the log the answer is needed. So those that hold events are in a heap,
by the position up to which each had handled everything when that was last looked at. A session only ever gets further.
So who is at the top is looked at again, and put back further down if it has; each of its acknowledgements costs one
such step at most.
"""

from __future__ import annotations

import heapq
import itertools

from services.cpg.sessions import Session


class Laggards:
    """The sessions that hold events which they have not handled."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Session]] = []
        """(position up to which it had handled everything, a number of its own, the session)"""
        self._numbers = itertools.count()
        self._gone = 0
        """Sessions in the heap that are in the table no more."""

    def __len__(self) -> int:
        """How many are in the heap, those that have gone or handled everything since among them."""
        return len(self._heap)

    def add(self, session: Session) -> None:
        """It holds events, and may not have held any before."""
        if not session.is_listed:
            session.is_listed = True
            heapq.heappush(self._heap, (session.handled(0), next(self._numbers), session))

    def forget(self, session: Session) -> None:
        """It has left the table, with no events. Once half of the heap has left, the heap is made anew: who left may be
        below one that never handles anything, and would be there for as long."""
        if session.is_listed:
            self._gone += 1
            if 2 * self._gone > len(self._heap):
                for _, _, each in self._heap:
                    each.is_listed = _is_waited_for(each)
                self._heap = [entry for entry in self._heap if entry[2].is_listed]
                heapq.heapify(self._heap)
                self._gone = 0

    def first(self) -> Session | None:
        """The one that has handled least, of those for which the log waits. None: nobody holds events."""
        heap = self._heap
        while heap:
            position, number, session = heap[0]
            if not _is_waited_for(session):
                heapq.heappop(heap)
                session.is_listed = False
                continue
            now = session.handled(0)
            if now == position:
                return session
            heapq.heapreplace(heap, (now, number, session))
        return None

    def clear(self) -> None:
        """An epoch is over, and positions begin anew."""
        for _, _, session in self._heap:
            session.is_listed = False
        self._heap.clear()
        self._gone = 0


def _is_waited_for(session: Session) -> bool:
    """Whether the log waits for it to handle events."""
    return session.event_bytes > 0 and not (session.closing or session.is_detached)
