"""Sockets, the control socket, the life of other processes, and locks: with real files in a directory."""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from rondo.ipc import endpoints, zmq_sockets
from rondo.ipc.control import ControlError, ControlServer, ask
from rondo.node.instance import InstanceError, InstanceLock
from rondo.node.process_watch import ProcessWatch

Context = zmq.Context[zmq.Socket[bytes]]


@pytest.fixture
def context() -> Iterator[Context]:
    """A ZeroMQ context that is gone afterwards."""
    context: Context = zmq.Context()
    yield context
    context.destroy(linger=0)


def test_both_ways_and_private(context: Context, tmp_path: Path) -> None:
    """A DEALER may connect first; the file is for its owner alone."""
    endpoint = f"ipc://{tmp_path / 'a.sock'}"
    with zmq_sockets.connect_dealer(context, endpoint) as dealer:
        assert zmq_sockets.send(dealer, b"early")
        with zmq_sockets.bind_router(context, endpoint) as router:
            assert stat.S_IMODE((tmp_path / "a.sock").stat().st_mode) == 0o600
            assert router.poll(60_000)
            ((identity, frame),) = zmq_sockets.receive_all_routed(router)
            assert frame == b"early"
            assert zmq_sockets.send(router, bytes(100_000), identity)
            assert dealer.poll(60_000)
            assert list(zmq_sockets.receive_all(dealer)) == [bytes(100_000)]
            assert list(zmq_sockets.receive_all(dealer)) == []
            dealer.send_multipart([b"two", b"frames"])
            assert router.poll(60_000)
            assert list(zmq_sockets.receive_all_routed(router)) == []


def test_nobody_and_no_room_are_told_apart(context: Context, tmp_path: Path) -> None:
    """A ROUTER never drops silently."""
    endpoint = f"ipc://{tmp_path / 'a.sock'}"
    with zmq_sockets.bind_router(context, endpoint) as router, zmq_sockets.connect_dealer(context, endpoint) as dealer:
        assert zmq_sockets.try_send(router, b"x", b"nobody") is None
        assert not zmq_sockets.send(router, b"x", b"nobody")
        zmq_sockets.send(dealer, b"hello")
        assert router.poll(60_000)
        ((identity, _),) = zmq_sockets.receive_all_routed(router)
        answers = {zmq_sockets.try_send(router, bytes(65536), identity) for _ in range(2000)}
        assert answers == {True, False}


def test_what_cannot_be_bound(context: Context, tmp_path: Path) -> None:
    """The error is one line that names the place."""
    with pytest.raises(endpoints.SocketError, match="missing"):
        zmq_sockets.bind_router(context, f"ipc://{tmp_path}/missing/a.sock")
    with pytest.raises(endpoints.SocketError):
        zmq_sockets.connect_dealer(context, "nonsense")


def test_stale_socket_is_removed_and_nothing_else(tmp_path: Path) -> None:
    """A killed predecessor's socket goes; a file of that name stays."""
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(tmp_path / "old.sock"))
    (tmp_path / "file").write_text("precious")
    for name in ("old.sock", "file", "none"):
        endpoints.remove_stale(f"ipc://{tmp_path / name}")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_control(context: Context, tmp_path: Path) -> None:
    """Questions, refusals, garbage, and nobody there."""

    def level(request: dict[str, Any]) -> dict[str, Any]:
        if request.get("level") != "debug":
            raise ValueError("no such level")
        return {"level": "debug"}

    server = ControlServer(tmp_path, "cpg", {"status": lambda _: {"state": "good"}, "log_level": level})
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            if select.select([server], [], [], 0.02)[0]:
                server.serve()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert ask(tmp_path, "cpg", "status", timeout=20) == {"ok": True, "state": "good"}
        assert ask(tmp_path, "cpg", "log_level", timeout=20, level="debug")["level"] == "debug"
        with pytest.raises(ControlError, match="cpg: no such level"):
            ask(tmp_path, "cpg", "log_level", timeout=20, level="loud")
        with pytest.raises(ControlError, match="there are: log_level, status"):
            ask(tmp_path, "cpg", "dance", timeout=20)
        with pytest.raises(ControlError, match="totem is not running"):
            ask(tmp_path, "totem", "status")
        with zmq_sockets.connect_dealer(context, f"ipc://{tmp_path}/cpg.ctl") as stranger:
            for garbage in (b"", b"\xc1", b"\x80", b"\x01", b"x" * 100_000):
                stranger.send(garbage)
                assert stranger.poll(60_000)
                assert b"error" in stranger.recv()
        assert ask(tmp_path, "cpg", "status", timeout=20)["ok"]
    finally:
        stop.set()
        thread.join()
    with pytest.raises(ControlError, match=r"did not answer within 0\.05 s"):
        ask(tmp_path, "cpg", "status", timeout=0.05)
    server.close()


def test_death_is_known_at_once() -> None:
    """And a process that is long gone is dead from the beginning."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        watch = ProcessWatch(child.pid)
        assert watch.is_alive()
        child.send_signal(signal.SIGKILL)
        if watch.fileno() >= 0:
            poller = zmq.Poller()
            poller.register(watch.fileno(), zmq.POLLIN)
            assert poller.poll(60_000)
        child.wait()
    assert not watch.is_alive()
    watch.close()
    assert not ProcessWatch(child.pid).is_alive()


def test_life_without_pidfd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel has none, asking still tells."""
    monkeypatch.delattr(os, "pidfd_open")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        watch = ProcessWatch(child.pid)
        assert watch.fileno() == -1
        assert watch.is_alive()
        child.kill()
        child.wait()
    assert not watch.is_alive()
    assert ProcessWatch(1).is_alive()


def test_one_instance(tmp_path: Path) -> None:
    """The second one is told who the first is."""
    lock = InstanceLock(tmp_path, "cpg")
    with pytest.raises(InstanceError, match=f"cpg runs already as process {os.getpid()}"):
        InstanceLock(tmp_path, "cpg")
    lock.close()
    InstanceLock(tmp_path, "cpg").close()
    with pytest.raises(InstanceError, match="choose another directory"):
        InstanceLock(tmp_path / "missing", "cpg")
