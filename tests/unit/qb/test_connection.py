"""What a connection counts of itself, over real rings: `stats.ipcs.` shows it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rondo.node.control_link import ControlLink
from rondo.protocol.codes import Code
from services.qb_gateway.cmap import CmapService
from services.qb_gateway.connection import WAITING_BYTES_MAX, Connection, Peer
from services.qb_gateway.quorum import QuorumService
from services.qb_gateway.shared_memory import ConnectionMemory, prefix_of
from services.qb_gateway.truncation import TruncationGuard
from services.qb_gateway.wire import cmap
from services.qb_gateway.wire.messages import blank_reply

RING_BYTES = 65536


@pytest.fixture
def control(tmp_path: Path) -> Iterator[ControlLink]:
    with contextlib.closing(ControlLink(tmp_path)) as control:
        yield control


@pytest.fixture
def connection(tmp_path: Path, control: ControlLink) -> Iterator[Connection]:
    """Of a program that has connected to cmap and reads nothing."""
    guard = TruncationGuard()
    guard.install()
    ours, theirs = socket.socketpair()
    service = CmapService(control, lambda _key, _value: None)
    memory = ConnectionMemory(guard, prefix_of(tmp_path), "cmap", RING_BYTES, (0, 0))
    connection = Connection(ours, Peer(1, 0, 0), service, memory, set())
    service.opened(connection)
    yield connection
    connection.close()
    theirs.close()
    guard.uninstall()


def test_requests_that_are_none_are_counted_and_answered(connection: Connection, control: ControlLink) -> None:
    connection.service.request(connection, 99, bytes(16))
    connection.service.request(connection, cmap.GET, bytes(16))
    assert (connection.requests_invalid, connection.replies_made) == (2, 2)
    connection.service.request(connection, cmap.END, bytes(24))
    assert connection.requests_invalid == 2, "a handle that is none is a fault of another kind"
    QuorumService(control).request(connection, 99, bytes(16))
    assert connection.requests_invalid == 3


def test_events_that_find_no_room_are_counted_once_for_each_attempt(connection: Connection) -> None:
    event = blank_reply(9, RING_BYTES // 4, Code.OK)
    connection.post([event])
    connection.flush()
    assert connection.writes_deferred == 0
    connection.post([event] * 8)
    connection.flush()
    assert connection.is_blocked
    assert connection.writes_deferred == 1
    connection.flush()
    assert connection.writes_deferred == 2


def test_a_program_that_takes_no_events_is_hung_up_once_too_many_bytes_wait(connection: Connection) -> None:
    event = blank_reply(9, RING_BYTES // 4, Code.OK)
    fitting = WAITING_BYTES_MAX // len(event)
    for _ in range(fitting):
        connection.post([event])
    connection.flush()
    assert connection.hang_up_reason == ""
    connection.post([event] * connection.events_written)
    assert connection.hang_up_reason == "", "what is in its ring does not wait"
    connection.post([event])
    assert "it takes no events" in connection.hang_up_reason
    assert not connection.is_blocked, "nothing is kept for it"


def test_each_time_that_it_must_not_multicast_counts(connection: Connection) -> None:
    for may_multicast in (True, False, False, True, False, True):
        connection.set_flow(may_multicast)
    assert connection.flow_stops == 2
