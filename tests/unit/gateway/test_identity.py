"""Whether the process behind a connection is still the one that had connected."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rondo.node.process_watch import GONE, start_time_of, start_time_of_peer
from services.ipc_gateway import credentials
from services.ipc_gateway.credentials import Peer, identity_of

ME = Peer(os.geteuid(), os.getegid(), os.getpid())


def test_a_process_is_known_by_pid_and_start_time() -> None:
    identity = identity_of(ME)
    assert identity is not None
    assert identity[:4] == (os.getpid(), start_time_of(os.getpid()), os.geteuid(), os.getegid())
    assert set(identity.groups) == set(os.getgroups())


def test_a_process_that_has_changed_its_user_or_group_is_another_one() -> None:
    assert identity_of(ME._replace(uid=ME.uid + 1)) is None
    assert identity_of(ME._replace(gid=ME.gid + 1)) is None


def test_a_pid_that_is_used_again_is_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given away while the gateway looks: user and groups are read of the new one."""
    start_times = iter((5, 6))
    monkeypatch.setattr(credentials, "start_time_of", lambda pid: next(start_times))
    assert identity_of(ME) is None


def test_a_process_that_is_gone_or_cannot_be_seen_is_nobody() -> None:
    assert identity_of(ME._replace(pid=0)) is None
    assert identity_of(ME._replace(pid=1 << 30)) is None


def test_the_number_of_the_process_that_had_connected_is_not_enough() -> None:
    """A connection may outlive the process that made it, in the hands of a child; another one has its number then."""
    started = start_time_of(os.getpid())
    assert identity_of(ME, started) is not None
    assert identity_of(ME, started + 1) is None
    assert identity_of(ME, GONE) is None


def test_who_has_connected_is_known_by_pid_and_start_time(tmp_path: Path) -> None:
    """And one that connects, hands its connection on to a child, and is dead before anybody looks, is known as gone."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    listener.listen()
    script = (
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "s.connect(sys.argv[1])\n"
        "sys.exit() if os.fork() else sys.stdin.read()"
    )
    here = socket.socket(socket.AF_UNIX)
    here.connect(str(tmp_path / "socket"))
    argv = [sys.executable, "-c", script, str(tmp_path / "socket")]
    with listener, here, subprocess.Popen(argv, stdin=subprocess.PIPE) as gone:
        gone.wait()
        for pid, start_time in ((os.getpid(), start_time_of(os.getpid())), (gone.pid, GONE)):
            stream, _ = listener.accept()
            with stream:
                assert start_time_of_peer(stream, pid) == start_time
                assert start_time_of_peer(stream, 0) == 0, "of another pid namespace nothing is known"
