"""When a session counts as too slow: what waits for it, but for a single message of any size."""

from __future__ import annotations

from services.cpg.sessions import BLOB_OVERHEAD_BYTES, Blob, Session


def session() -> Session:
    return Session(1, 2, 3, 0, 0, 0, b"")


def test_one_large_message_makes_nobody_slow() -> None:
    one = session()
    one.put(Blob(1, 1, bytes(1_000_000)))
    assert (one.event_bytes, one.backlog_bytes()) == (1_000_000 + BLOB_OVERHEAD_BYTES, 0)
    one.put(Blob(2, 3, bytes(500)))
    assert one.backlog_bytes() == 500 + BLOB_OVERHEAD_BYTES
    assert one.next_blob() is not None
    assert one.backlog_bytes() == 500 + BLOB_OVERHEAD_BYTES, "whether it was sent or not"
    one.put(Blob(4, 4, bytes(2_000_000)))
    assert one.backlog_bytes() == 1_000_500 + 2 * BLOB_OVERHEAD_BYTES
    one.acknowledge(1)
    assert one.backlog_bytes() == 500 + BLOB_OVERHEAD_BYTES
    one.acknowledge(4)
    assert (one.event_bytes, one.backlog_bytes()) == (0, 0)
