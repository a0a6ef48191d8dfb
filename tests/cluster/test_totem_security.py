"""Totem processes that seal their packets: rings by key, and nothing but counters for everybody else."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rondo.config.key import fingerprint, read_key, write_key
from rondo.testing.lab.totem_nodes import START_SECONDS, TotemNode, eventually, totem_ring
from services.totem.security.challenge import ASK_INTERVAL_NS
from tests.ports import reserve_port


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def ring_with_key(
    stack: ExitStack, directory: Path, port: int, key: Path | None, nodes: int = 3, options: str = "",
    token_ms: int = 1500, transport: str = "udpu",
) -> list[TotemNode]:  # fmt: skip
    """Nodes that have this key; None: that have security switched off."""
    directory.mkdir(exist_ok=True)
    security = f"  keyfile: {key}\n{options}" if key is not None else "  secauth: off\n"
    return totem_ring(stack, directory, port, nodes, transport=transport, security=security, token_ms=token_ms)


def security_of(node: TotemNode) -> dict[str, Any]:
    status = node.status()
    assert status is not None
    found: dict[str, Any] = status["security"]
    return found


def counted(node: TotemNode, reason: str) -> int:
    """A counter of the security of packets, or of what the ring itself has refused."""
    status = node.status()
    assert status is not None
    counters = status["counters"] | status["dropped"]
    return int(counters.get(f"security_{reason}", counters.get(reason, 0)))


def start(*nodes: TotemNode) -> None:
    for node in nodes:
        node.start()


def in_one_ring(*nodes: TotemNode) -> None:
    numbers = [node.node for node in nodes]
    for node in nodes:
        assert eventually(lambda node=node: node.is_in_ring_of(*numbers)), node.lines()  # type: ignore[misc]


SUITES = [
    ("aes256-gcm", "udpu", ""),
    ("aes256-gcm", "udp", ""),
    ("aes128/sha1", "udpu", "  crypto_cipher: aes128\n  crypto_hash: sha1\n"),
    ("aes256/sha512", "udp", "  crypto_cipher: aes256\n  crypto_hash: sha512\n"),
]


@pytest.mark.parametrize(("suite", "transport", "options"), SUITES, ids=[f"{each[0]} {each[1]}" for each in SUITES])
def test_a_ring_by_key_survives_restarts(
    stack: ExitStack, tmp_path: Path, suite: str, transport: str, options: str
) -> None:
    write_key(tmp_path / "authkey")
    nodes = ring_with_key(
        stack, tmp_path, reserve_port(stack), tmp_path / "authkey", transport=transport, options=options
    )
    one, two, three = nodes
    start(*nodes)
    in_one_ring(*nodes)
    for node in nodes:
        security = security_of(node)
        assert security["suite"] == suite
        assert security["key_fingerprint"] == fingerprint(read_key(tmp_path / "authkey"))
        assert counted(node, "boots_accepted") == 2

    two.end(signal.SIGKILL)
    in_one_ring(one, three)
    two.start()
    in_one_ring(*nodes)
    assert three.end(signal.SIGTERM) == 0
    in_one_ring(one, two)
    three.start()
    in_one_ring(*nodes)
    assert counted(one, "boots_accepted") == 4
    for node in nodes:
        assert not any("invalid digest" in line for line in node.lines()), node.lines()


CALM_MS = 20_000
"""A token time-out that a busy machine does not reach, where a new ring would be a fault."""


def test_strangers_stay_alone_and_disturb_nobody(stack: ExitStack, tmp_path: Path) -> None:
    """A node with another key and one with security switched off, in the middle of a ring of two.

    The strangers have a short token time-out: each waits for the others, in vain, before it forms a ring of its own.
    """
    port = reserve_port(stack)
    for name in ("ours", "theirs"):
        write_key(tmp_path / name)
    one, two, _ = ring_with_key(stack, tmp_path / "a", port, tmp_path / "ours", token_ms=CALM_MS)
    _, _, three = ring_with_key(stack, tmp_path / "b", port, tmp_path / "theirs")
    start(one, two)
    in_one_ring(one, two)
    before = one.status()
    assert before is not None

    plain = ring_with_key(stack, tmp_path / "c", port, None)[2]
    for stranger, here, there in ((three, "wrong_key", "wrong_key"), (plain, "no_crypto", "rx_stranger")):
        stranger.start()
        in_one_ring(stranger)
        for node, reason in ((one, here), (two, here), (stranger, there)):
            assert eventually(lambda node=node, reason=reason: counted(node, reason) > 5), node.lines()  # type: ignore[misc]
        in_one_ring(stranger)
        stranger.end(signal.SIGTERM)
    for node in (one, two):
        assert node.is_in_ring_of(1, 2)
        status = node.status()
        assert status is not None
        assert status["ring"] == before["ring"], "not one new ring because of them"
        lines = [line for line in node.lines() if "Received message has invalid digest... ignoring." in line]
        assert any("It came from 127.0.0.3 (node 3): it was made with another key" in line for line in lines), lines
        assert any("It came from 127.0.0.3 (node 3): it is a packet of udp or udpu without" in line for line in lines)
        assert len(lines) <= status["uptime_seconds"] + 1


def test_a_recording_does_nothing_to_a_restarted_node(stack: ExitStack, tmp_path: Path) -> None:
    """Everything that node 2 sent to node 1 in an earlier life of both, again and again, while node 1 is alone."""
    write_key(tmp_path / "authkey")
    port = reserve_port(stack)
    one, two = ring_with_key(stack, tmp_path, port, tmp_path / "authkey", nodes=2, token_ms=CALM_MS)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.bind(("127.0.0.1", port))
        ear.settimeout(0.5)
        two.start()
        recorded: list[bytes] = []
        end = time.monotonic() + START_SECONDS
        while len(recorded) < 5 and time.monotonic() < end:
            try:
                recorded.append(ear.recv(65536))
            except TimeoutError:
                continue
    two.end()
    assert len(recorded) == 5
    one.start()
    in_one_ring(one)
    status = one.status()
    assert status is not None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.bind(("127.0.0.2", 0))
        began = time.monotonic()
        for number in range(2_000):
            out.sendto(recorded[number % len(recorded)], ("127.0.0.1", port))
            time.sleep(0.001)
    assert eventually(lambda: counted(one, "unknown_boot") >= 2_000), "all were read"
    after = one.status()
    assert after is not None
    assert (after["ring"], after["members"]) == (status["ring"], [1])
    assert after["dropped"] == status["dropped"]
    assert after["counters"]["security_unknown_boot"] == 2_000
    assert after["counters"]["security_challenges_sent"] <= (time.monotonic() - began) * 1e9 / ASK_INTERVAL_NS + 1
    two.start()
    in_one_ring(one, two)


def failure(node: TotemNode) -> tuple[int, list[str]]:
    """Exit code and lines of a start that fails."""
    done = subprocess.run(node.command, capture_output=True, timeout=60, check=False)
    return done.returncode, done.stderr.decode().splitlines()


def test_a_key_that_cannot_be_used_is_said_in_one_line(stack: ExitStack, tmp_path: Path) -> None:
    key = tmp_path / "authkey"
    (node,) = ring_with_key(stack, tmp_path, reserve_port(stack), key, nodes=1)
    code, lines = failure(node)
    assert (code, len(lines)) == (8, 1)
    assert f"{key}: there is no key; make a key with: rondo keygen --key-file {key}" in lines[0]
    write_key(key)
    key.chmod(0o644)
    code, lines = failure(node)
    assert (code, len(lines)) == (8, 1)
    assert f"{key}: others have access to the key (mode 0644); chmod 400 {key}" in lines[0]
