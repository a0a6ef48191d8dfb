"""How many sessions a process, a user and a remote client may have: counted as they come and go."""

import os

from rondo.protocol.cpg_gateway import REMOTE_UID
from services.ipc_gateway.credentials import Peer
from services.ipc_gateway.session_registry import (
    SESSIONS_PER_PROCESS_MAX,
    SESSIONS_PER_USER_MAX,
    Session,
    SessionRegistry,
)

ME = Peer(1000, 1000, os.getpid())
NO_PID = 1 << 23
"""No process has one as high."""


def fill(registry: SessionRegistry, peer: Peer, count: int) -> list[Session]:
    """So many sessions of it."""
    return [registry.create(peer, "", 0) for _ in range(count)]


def test_a_process_has_its_share_and_gets_it_back() -> None:
    registry = SessionRegistry()
    sessions = fill(registry, ME, SESSIONS_PER_PROCESS_MAX - 1)
    sessions.append(registry.adopt(1, ME, 0, 0, b""))
    assert f"process {ME.pid} has {SESSIONS_PER_PROCESS_MAX} sessions" in registry.why_full(ME)
    assert registry.why_full(ME._replace(pid=os.getppid())) == ""
    assert registry.why_full(ME._replace(uid=1001)) == ""
    registry.remove(sessions[3], 1, "", 0)
    registry.remove(sessions[3], 1, "", 0)
    assert registry.why_full(ME) == ""
    fill(registry, ME, 1)
    assert registry.why_full(ME) != "", "removed twice, it counts once"


def test_a_user_has_so_many_in_all_processes() -> None:
    registry = SessionRegistry()
    unseen = ME._replace(pid=0)
    processes = SESSIONS_PER_USER_MAX // SESSIONS_PER_PROCESS_MAX
    sessions = [
        each for n in range(processes) for each in fill(registry, unseen._replace(pid=-n), SESSIONS_PER_PROCESS_MAX)
    ]
    assert "user 1000 has" in registry.why_full(ME)
    assert registry.why_full(ME._replace(uid=1001)) == ""
    for each in sessions:
        registry.remove(each, 1, "", 0)
    assert registry.why_full(ME) == ""


def test_remote_clients_are_told_apart_by_key() -> None:
    registry = SessionRegistry()
    one = Peer(REMOTE_UID, REMOTE_UID, 0, key=7)
    sessions = fill(registry, one, SESSIONS_PER_USER_MAX)
    assert len({session.peer.pid for session in sessions}) == SESSIONS_PER_USER_MAX
    assert "the client with key 0000000000000007" in registry.why_full(one)
    assert registry.why_full(one._replace(key=8)) == ""
    registry.remove(sessions[0], 1, "", 0)
    assert registry.why_full(one) == ""
