"""Who has handled least: the same as a look at all sessions says, without one."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from services.cpg.laggards import Laggards
from services.cpg.session_table import SessionTable
from services.cpg.sessions import Blob, Session, pack_table, unpack_table

STEPS = 3000


def opened(table: SessionTable, ident: int, pid: int) -> Session:
    code, _ = table.open_one([ident, pid, 1, 0, 0, 0, b"", None])
    assert code == 1
    return table.table[ident]


def looked_up(table: SessionTable) -> int:
    """`handled`, by a look at all."""
    head = table.core.n
    waits = [each for each in table.table.values() if not (each.closing or each.is_detached)]
    return min((each.handled(head) for each in waits), default=head)


def first_of(table: SessionTable) -> int | None:
    laggard = table.laggard()
    return None if laggard is None else laggard.handled(table.core.n)


@pytest.mark.parametrize("seed", range(20))
def test_it_is_what_a_look_at_all_sessions_says(seed: int) -> None:
    chance, table = random.Random(seed), SessionTable()
    number = 0
    for _ in range(STEPS):
        sessions = list(table.table.values())
        session = chance.choice(sessions) if sessions else None
        what = chance.randrange(10)
        if session is None or (what == 0 and len(sessions) < 30):
            number += 1
            opened(table, number, number % 7)
        elif what < 5:
            table.core.n += chance.randrange(3)
            if not session.closing and table.core.n > session.handled(table.core.n) - 1 and table.core.n:
                session.put(Blob(table.core.n, table.core.n, b"x"))
                table.laggards.add(session)
        elif what < 8:
            session.acknowledge(chance.randrange(table.core.n + 1))
        elif what == 8 and chance.random() < 0.2:
            session.closing = True
            session.drop_events()
            table.take_out(session.ident)
        elif what == 9 and chance.random() < 0.1:
            session.is_detached = True
        elif session.is_detached:
            session.is_detached = False
            if session.event_bytes:
                table.laggards.add(session)
        assert table.handled() == looked_up(table)
        assert first_of(table) == (looked_up(table) if looked_up(table) < table.core.n else None)
        assert len(table.laggards) <= number


def test_a_session_that_was_put_back_is_there_once() -> None:
    laggards, session = Laggards(), Session(1, 1, 1, 0, 0, 0, b"")
    for n in (1, 2, 3):
        session.put(Blob(n, n, b"x"))
        laggards.add(session)
    assert (laggards.first(), len(laggards)) == (session, 1)
    session.acknowledge(3)
    assert (laggards.first(), len(laggards)) == (None, 0)


def test_those_who_left_do_not_pile_up_below_one_that_never_handles_anything() -> None:
    table = SessionTable()
    stuck = opened(table, 1, 1)
    for ident in range(1, 1000):
        session = stuck if ident == 1 else opened(table, ident, ident)
        table.core.n = ident
        session.put(Blob(ident, ident, b"x"))
        table.laggards.add(session)
        assert table.laggard() is stuck
        if session is not stuck:
            table.take_out(ident)
    assert len(table.laggards) <= 3


def test_after_an_epoch_positions_begin_anew() -> None:
    laggards, (old, new) = Laggards(), (Session(ident, 1, 1, 0, 0, 0, b"") for ident in (1, 2))
    old.put(Blob(900, 900, b"x"))
    laggards.add(old)
    laggards.clear()
    old.begin_epoch()
    for session, n in ((new, 7), (old, 5)):
        session.put(Blob(n, n, b"x"))
        laggards.add(session)
    assert laggards.first() is old


def test_with_thousands_of_others_it_looks_at_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """All hold events, as those do that do not acknowledge; one handles what it gets."""
    table = SessionTable()
    for ident in range(1, 3001):
        session = opened(table, ident, ident)
        session.put(Blob(1, 1, b"x"))
        table.laggards.add(session)
    table.core.n = 1
    looks = 0
    handled = Session.handled

    def counted(session: Session, head: int) -> int:
        nonlocal looks
        looks += 1
        return handled(session, head)

    monkeypatch.setattr(Session, "handled", counted)
    for n in range(2, 102):
        table.core.n = n
        session.put(Blob(n, n, b"x"))
        table.laggards.add(session)
        session.acknowledge(n)
        assert table.handled() == 0
    assert looks < 100 * 10


def test_the_row_of_a_session_follows_what_it_says() -> None:
    table = SessionTable()
    session = opened(table, 5, 50)
    changes: list[Callable[[], object]] = [
        lambda: None,
        lambda: setattr(session, "opened_at", 9),
        lambda: session.identify(51, 2, 3, 4, 1, b"note"),
        lambda: setattr(session, "closing", True),
        session.begin_epoch,
    ]
    for change in changes:
        change()
        (again,) = unpack_table(pack_table(table.table))
        assert (again.who(), again.opened_at, again.closing) == (session.who(), session.opened_at, session.closing)


def test_sessions_of_a_process_are_found_also_when_it_turns_out_to_be_another() -> None:
    table = SessionTable()
    first, second = opened(table, 1, 10), opened(table, 2, 10)
    adopted = table.adopt(3, 10)
    assert table.siblings(first) == [first, second, adopted]
    table.open_one([3, 11, 1, 0, 0, 0, b"", None])
    table.open_one([3, 11, 1, 0, 0, 0, b"", [table.epoch, 0, 0]])
    assert (table.siblings(first), table.siblings(adopted)) == ([first, second], [adopted])
    table.take_out(1)
    assert table.siblings(second) == [second]
