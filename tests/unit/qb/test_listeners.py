"""Who may begin a handshake with the sockets that C programs connect to, which anybody can reach."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from services.qb_gateway.connection import Peer
from services.qb_gateway.listeners import HANDSHAKES_MAX, HANDSHAKES_PER_USER_MAX, Handshake, Listeners
from services.qb_gateway.truncation import TruncationGuard

ALICE = os.geteuid() + 12345


@pytest.fixture
def listeners() -> Iterator[Listeners]:
    """Listeners that belong to no service."""
    made = Listeners([], TruncationGuard(), "", lambda _: True, set())
    yield made
    made.close()


def begin(listeners: Listeners, uid: int) -> bool:
    """One more of that user that says nothing, if there is room."""
    peer = Peer(1, uid, uid)
    if not listeners.has_room_for(peer):
        return False
    stream = socket.socket(socket.AF_UNIX)
    listeners.handshakes[stream.fileno()] = Handshake(stream, peer, None, 0.0)  # type: ignore[arg-type]
    return True


def test_a_user_who_says_nothing_keeps_out_no_other_user_and_all_together_not_root(listeners: Listeners) -> None:
    assert [begin(listeners, ALICE) for _ in range(HANDSHAKES_PER_USER_MAX + 1)][-2:] == [True, False]
    assert begin(listeners, ALICE + 1)
    uid = ALICE + 2
    while len(listeners.handshakes) < HANDSHAKES_MAX:
        uid += not begin(listeners, uid)
    assert not begin(listeners, uid + 1)
    assert begin(listeners, 0)
    assert begin(listeners, os.geteuid())


def test_without_descriptors_who_waits_is_turned_away_one_by_one(listeners: Listeners, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as opened:
        listening, first, second = [opened.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(3)]
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        listening.setblocking(False)
        listeners.sockets[listening.fileno()] = cast(Any, (listening, None))
        opened.callback(listeners.sockets.clear)
        for each in (first, second):
            each.connect(str(tmp_path / "s"))
            each.setblocking(False)
        lowest = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest)
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        for each in (first, second):
            assert listeners.accept(listening.fileno(), 0.0) == []
            assert each.recv(1) == b"", "it hears that at once, and the spare descriptor is there for the next"
    assert listeners.counters["refused"] == 2
