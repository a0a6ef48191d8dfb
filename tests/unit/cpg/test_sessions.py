"""What is kept of a session's events until it has handled them."""

from __future__ import annotations

import pytest

from services.cpg.sessions import BLOB_OVERHEAD_BYTES, SEND_WINDOW_BYTES, Blob, Session


@pytest.fixture
def session() -> Session:
    return Session(7, 77, 1, 0, 0, 0, b"")


def sent(session: Session) -> list[int]:
    """Takes all blobs that may be sent now: their first positions."""
    taken = []
    while (blob := session.next_blob()) is not None:
        taken.append(blob.first)
    return taken


def test_a_blob_is_kept_until_all_of_it_is_handled(session: Session) -> None:
    """A client may acknowledge in the middle of a blob; a restarted gateway must be given the rest."""
    session.put(Blob(1, 3, b"x" * 10))
    assert sent(session) == [1]
    session.acknowledge(2)
    assert session.event_bytes == 10 + BLOB_OVERHEAD_BYTES
    assert session.handled(9) == 2
    session.resume(2)
    assert sent(session) == [1]
    session.acknowledge(3)
    assert session.event_bytes == 0
    assert session.handled(9) == 9


def test_what_is_on_its_way_is_bounded_and_a_resume_begins_anew(session: Session) -> None:
    for n in range(1, 9):
        session.put(Blob(n, n, bytes(SEND_WINDOW_BYTES // 4)))
    assert sent(session) == [1, 2, 3, 4]
    assert sent(session) == []
    session.resume(0)
    assert sent(session) == [1, 2, 3, 4]
    session.acknowledge(2)
    assert sent(session) == [5, 6]
    session.resume(2)
    assert sent(session) == [3, 4, 5, 6]


def test_one_blob_of_any_size_always_goes(session: Session) -> None:
    session.put(Blob(1, 1, bytes(2 * SEND_WINDOW_BYTES)))
    session.put(Blob(2, 2, b"x"))
    assert sent(session) == [1]
    session.acknowledge(1)
    assert sent(session) == [2]
