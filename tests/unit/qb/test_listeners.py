"""Who may begin a handshake with the sockets that C programs connect to, which anybody can reach."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

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
