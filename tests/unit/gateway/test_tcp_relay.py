"""The TCP port before a key was shown: how many may be there, for how long, and what they may say."""

import contextlib
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rondo.config.node import RemoteSettings
from rondo.ipc import zmtp
from rondo.ipc.control import ask
from services.ipc_gateway.tcp_relay import HANDSHAKE_BYTES_MAX, HANDSHAKE_S, UNPROVEN_MAX, TcpRelay
from tests.ports import free_tcp_port
from tests.unit.gateway.conftest import eventually
from tests.unit.gateway.test_remote import Remote, remote

__all__ = ["remote"]

MIB = 1 << 20
QUIET_MAX = 500
"""After so many milliseconds in which nothing comes, nothing is on its way: the kernel may be late, too."""
CURVE_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00CURVE" + bytes(15 + 1 + 31)


def rss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def port_of(endpoint: str) -> int:
    return int(endpoint.rpartition(":")[2])


def test_long_frames_before_a_key_cost_no_memory(remote: Remote) -> None:
    """libzmq would take each of them whole before it knows who is there."""
    pid = remote.gateway.process.pid
    with contextlib.ExitStack() as stack:
        before = rss_bytes(pid)
        for _ in range(16):
            stranger = stack.enter_context(socket.create_connection(("127.0.0.1", port_of(remote.endpoint))))
            stranger.settimeout(0.2)
            with contextlib.suppress(OSError):
                stranger.sendall(CURVE_GREETING + struct.pack("!BQ", 6, 60 * MIB))
                for _ in range(12):
                    stranger.sendall(bytes(MIB))
        assert rss_bytes(pid) - before < 24 * MIB
        # And somebody with a key is let through.
        remote.connect(remote.key_file("one")).close()


def test_strangers_displace_each_other_and_nobody_else(remote: Remote) -> None:
    key_file = remote.key_file("one")
    with contextlib.ExitStack() as stack:
        friend = stack.enter_context(remote.connect(key_file))
        group = friend.cpg.join("g")
        for _ in range(2 * UNPROVEN_MAX):
            stranger = stack.enter_context(socket.create_connection(("127.0.0.1", port_of(remote.endpoint))))
            stranger.sendall(CURVE_GREETING)
        remote.connect(key_file).close()
        group.mcast(b"still here").ordered(60)

        def counters() -> dict[str, int]:
            found: dict[str, int] = ask(remote.gateway.run_dir, "ipc_gateway", "status", timeout=20)["counters"]
            assert found["remote_unproven"] <= UNPROVEN_MAX
            return found

        def ended() -> int:
            """Those that made room. On a slow machine some have had their three seconds before others came, or libzmq
            had not taken those before them."""
            found = counters()
            return sum(found.get(f"remote_{name}", 0) for name in ("displaced", "handshake_ended", "not_handed_on"))

        eventually(lambda: ended() >= UNPROVEN_MAX - 1)
        assert counters()["remote_displaced"] > 0
        eventually(lambda: counters()["remote_connections"] == 1)


def test_a_handshake_has_three_seconds_whatever_comes_meanwhile(remote: Remote) -> None:
    with socket.create_connection(("127.0.0.1", port_of(remote.endpoint))) as stranger:
        stranger.settimeout(0.4)  # so slow that the greeting alone would take 25 s
        began_s = time.monotonic()
        greeting = iter(CURVE_GREETING)
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < began_s + 30:
                stranger.sendall(bytes((next(greeting),)))
                with contextlib.suppress(TimeoutError):
                    while said := stranger.recv(4096):
                        del said
                    break
        assert time.monotonic() - began_s < 30


class Inner:
    """What stands in for libzmq behind a relay."""

    def __init__(self, directory: Path) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(directory / "inner"))
        self.listener.listen()
        self.port = free_tcp_port()
        self.relay = TcpRelay(RemoteSettings("127.0.0.1", self.port, "", ""), directory / "inner")

    def serve_until(self, condition: Callable[[], object]) -> None:
        """Have the relay work until a condition holds."""

        def holds() -> object:
            self.relay.serve(0.0)
            return condition()

        eventually(holds)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """A client's socket, and the one at the other end of the relay."""
        client = socket.create_connection(("127.0.0.1", self.port))
        # The kernel may be late in handing over what a client believes to be connected.
        self.serve_until(lambda: select.select([self.listener], [], [], 0)[0])
        inner, _ = self.listener.accept()
        for each in (client, inner):
            each.setblocking(False)
        return client, inner


@pytest.fixture
def inner(run_dir: Path) -> Iterator[Inner]:
    made = Inner(run_dir)
    yield made
    made.relay.close()
    made.listener.close()


def moved(inner: Inner, source: socket.socket, target: socket.socket, data: bytes) -> int:
    """How much of `data` arrives."""
    left, count, quiet = memoryview(data), 0, 0
    while count < len(data) and quiet < QUIET_MAX:
        quiet += 1
        with contextlib.suppress(BlockingIOError):
            if left:
                left = left[source.send(left) :]
        inner.relay.serve(0.0)
        with contextlib.suppress(BlockingIOError):
            got = len(target.recv(MIB))
            count += got
            quiet = 0 if got else quiet
        if quiet:
            time.sleep(0.001)
    return count


def test_what_a_client_says_before_it_is_let_in_is_bounded_and_afterwards_is_not(inner: Inner) -> None:
    client, server = inner.pair()
    assert moved(inner, client, server, bytes(MIB)) == HANDSHAKE_BYTES_MAX
    ready = bytes(64) + zmtp.command(b"\x07WELCOME" + bytes(160)) + zmtp.command(b"\x05READY" + bytes(30))
    assert moved(inner, server, client, ready) == len(ready)
    assert moved(inner, client, server, bytes(4 * MIB)) >= 4 * MIB, "with what waited before"
    assert moved(inner, server, client, bytes(4 * MIB)) == 4 * MIB
    assert inner.relay.totals["remote_connections"] == 1
    client.close()
    server.close()
    inner.serve_until(lambda: inner.relay.totals["remote_connections"] == 0)


def test_a_refusal_is_not_taken_for_a_welcome(inner: Inner) -> None:
    client, server = inner.pair()
    refusal = bytes(64) + zmtp.command(b"\x07WELCOME" + b"\x05READY" * 20) + zmtp.command(b"\x05ERROR\x03400")
    assert moved(inner, server, client, refusal) == len(refusal)
    assert inner.relay.totals["remote_unproven"] == 1
    inner.relay.tend(HANDSHAKE_S + 0.1)
    assert inner.relay.totals["remote_unproven"] == 0
    client.settimeout(60)
    assert client.recv(1) == b""
    client.close()
    server.close()


def test_who_does_not_read_is_not_read_from_the_other_side(inner: Inner) -> None:
    """What waits is bounded by what the sockets hold, and a chunk."""
    client, server = inner.pair()
    ready = bytes(64) + zmtp.command(b"\x05READY" + bytes(30))
    assert moved(inner, server, client, ready) == len(ready)
    sent, quiet = 0, 0
    while quiet < 20:
        quiet += 1
        with contextlib.suppress(BlockingIOError):
            sent += server.send(bytes(MIB))
            quiet = 0
        inner.relay.serve(0.0)
    assert sent < 64 * MIB
    client.settimeout(60)
    assert client.recv(1) == b"\0"
    client.close()
    server.close()
