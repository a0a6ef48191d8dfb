"""The lines that hang-ups leave in the log."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rondo.node.control_link import ControlLink
from services.qb_gateway.cmap import CmapService
from services.qb_gateway.connection import Connection, Peer
from services.qb_gateway.hub import Hub
from services.qb_gateway.shared_memory import ConnectionMemory, prefix_of
from services.qb_gateway.truncation import TruncationGuard

HANG_UPS = 20


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """With the connections of so many programs."""
    guard = TruncationGuard()
    guard.install()
    with contextlib.ExitStack() as opened:
        opened.callback(guard.uninstall)
        hub = Hub(opened.enter_context(contextlib.closing(select.epoll())), guard)
        control = opened.enter_context(contextlib.closing(ControlLink(tmp_path)))
        for number in range(HANG_UPS):
            ours, theirs = socket.socketpair()
            opened.callback(theirs.close)
            service = CmapService(control, lambda _key, _value: None)
            memory = ConnectionMemory(guard, prefix_of(tmp_path), f"cmap{number}", 65536, (0, 0))
            connection = Connection(ours, Peer(number, 0, 0), service, memory, set())
            hub.connections[ours.fileno()] = connection
            service.opened(connection)
        yield hub
        hub.close()


def test_many_hang_ups_leave_two_lines_a_second(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    *most, last = hub.connections.values()
    for connection in most:
        connection.hang_up("its ring is broken")
        hub.attention.add(connection)
    hub.write()
    assert hub.counters["cut"] == HANG_UPS - 1
    assert len(caplog.messages) == 1
    assert caplog.messages[0].endswith("hung up: its ring is broken")
    hub.keep_house(1.0)
    assert caplog.messages[1:] == [f"{HANG_UPS - 2} C programs more were hung up"]
    hub.keep_house(2.0)
    last.hang_up("it is late")
    hub.attention.add(last)
    hub.write()
    hub.keep_house(3.0)
    assert [message.endswith("hung up: it is late") for message in caplog.messages[2:]] == [True]
