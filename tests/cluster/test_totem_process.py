"""Real totem processes on 127.0.0.1 to 3: they form a ring, survive each other, and say what is wrong in one line."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rondo import config
from rondo.ipc.control import ControlError, ask
from rondo.testing.lab.totem_nodes import TotemNode, eventually, totem_ring
from services.totem.wire.base import RingId
from services.totem.wire.frames import (
    MCAST_HEADER_SIZE,
    Commit,
    CommitEntry,
    HoldCancel,
    Merge,
    Token,
    encode_commit,
    encode_hold_cancel,
    encode_mcast,
    encode_merge,
    encode_token,
)
from tests.ports import reserve_port

LONG_MS = 5000
"""A token time-out that only the kill of a node reaches, on a busy machine too."""
CALM_MS = 20_000
"""One that nothing reaches."""
ATTEMPTS = 3
"""Of which one counts, where a busy machine may spoil it."""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def started_ring(
    stack: ExitStack, directory: Path, transport: str = "udpu", token_ms: int = LONG_MS
) -> list[TotemNode]:
    nodes = totem_ring(stack, directory, reserve_port(stack), transport=transport, token_ms=token_ms)
    for node in nodes:
        node.start()
    for node in nodes:
        assert eventually(lambda node=node: node.is_in_ring_of(1, 2, 3)), node.lines()  # type: ignore[misc]
    return nodes


def sequence(node: TotemNode) -> int:
    status = node.status()
    assert status is not None
    return int(status["ring"]["sequence"])


@pytest.mark.parametrize("transport", ["udpu", "udp"])
def test_three_nodes_form_a_ring_and_outlive_each_other(stack: ExitStack, tmp_path: Path, transport: str) -> None:
    one, two, three = started_ring(stack, tmp_path, transport)
    first = sequence(one)
    assert [sequence(node) for node in (two, three)] == [first, first]

    two.end(signal.SIGKILL)
    for node in (one, three):
        assert eventually(lambda node=node: node.is_in_ring_of(1, 3)), node.lines()  # type: ignore[misc]
    without_two = sequence(one)
    assert without_two > first

    two.start()
    for node in (one, two, three):
        assert eventually(lambda node=node: node.is_in_ring_of(1, 2, 3)), node.lines()  # type: ignore[misc]
    assert sequence(two) > without_two

    assert three.end(signal.SIGTERM) == 0
    for node in (one, two):
        assert eventually(lambda node=node: node.is_in_ring_of(1, 2)), node.lines()  # type: ignore[misc]
    assert three.lines()[-1].endswith("[MAIN  ] Left the ring.")
    assert any("Node 3 leaves." in line for line in one.lines())
    # A clean leave needs no time-out: not one token was missed in between.
    # (Who notices the kill first tells the other by its join, so one of the two may have nothing to say.)
    told = [[line for line in node.lines() if "A processor failed" in line] for node in (one, three)]
    assert sum(map(len, told)) >= 1
    assert max(map(len, told)) <= 1, "only the kill of node 2"
    assert any("Failed to receive the leave message. failed: 2" in line for line in one.lines())


def test_an_idle_ring_costs_next_to_nothing(stack: ExitStack, tmp_path: Path) -> None:
    nodes = started_ring(stack, tmp_path)
    time.sleep(1)  # until the token is held
    for _ in range(ATTEMPTS):
        before = [node.cpu_seconds() for node in nodes]
        time.sleep(5)
        share = [(node.cpu_seconds() - used) / 5 for node, used in zip(nodes, before, strict=True)]
        if max(share) < 0.02:
            return
    pytest.fail(f"not once: {share}")


def test_status_is_json(stack: ExitStack, tmp_path: Path) -> None:
    (node,) = totem_ring(stack, tmp_path, reserve_port(stack), nodes=1)
    node.start()
    assert eventually(lambda: node.is_in_ring_of(1))
    command = [sys.executable, "-m", "services.totem", "--status", "--run-dir", str(node.run_dir)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    status = json.loads(done.stdout)
    assert (status["node"], status["state"], status["members"], status["pid"]) == (1, "operational", [1], node.pid)
    assert status["ring"]["representative"] == 1
    assert status["counters"]["orf_token_tx"] > 0
    node.end(signal.SIGTERM)
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_the_log_level_changes_while_it_runs(stack: ExitStack, tmp_path: Path) -> None:
    (node,) = totem_ring(stack, tmp_path, reserve_port(stack), nodes=1)
    node.start()
    assert eventually(lambda: node.is_in_ring_of(1))
    assert not any("[TOTEM ]" in line and "debug" in line for line in node.lines())
    ask(node.run_dir, "totem", "log_level", level="debug")
    with pytest.raises(ControlError, match="no log level 'loud'"):
        ask(node.run_dir, "totem", "log_level", level="loud")


def test_a_configuration_that_was_resolved_before_needs_no_parser(stack: ExitStack, tmp_path: Path) -> None:
    (node,) = totem_ring(stack, tmp_path, reserve_port(stack), nodes=1)
    resolved = tmp_path / "node.msgpack"
    config.resolve(config.load(tmp_path / "corosync.conf", node_id=1)).save(resolved)
    at = node.command.index("-c")
    node.command[at:] = [
        "--resolved",
        str(resolved),
        "--run-dir",
        str(node.run_dir),
        "--state-dir",
        str(node.state_dir),
    ]
    # The interpreter tells what it imports: its maps in /proc may be read by root alone, for it has keys in memory.
    node.command[1:1] = ["-X", "importtime"]
    node.start()
    assert eventually(lambda: node.is_in_ring_of(1)), node.lines()
    imported = {line.rpartition("|")[2].strip() for line in node.lines() if line.startswith("import time:")}
    assert "rondo.config.node" in imported
    assert "pydantic" not in imported
    resolved.write_bytes(b"something else")
    assert node.end(signal.SIGTERM) == 0
    code, lines = failure(node)
    assert (code, len(lines)) == (8, 1)


def failure(node: TotemNode) -> tuple[int, list[str]]:
    """Exit code and last lines of a start that fails."""
    done = subprocess.run(node.command, capture_output=True, timeout=60, check=False)
    assert b"Traceback" not in done.stderr, done.stderr
    return done.returncode, [line for line in done.stderr.decode().splitlines() if line.startswith("totem: ")]


@pytest.mark.slow
def test_what_keeps_it_from_starting_is_said_in_one_line(stack: ExitStack, tmp_path: Path) -> None:
    port = reserve_port(stack)
    (node,) = totem_ring(stack, tmp_path, port, nodes=1)
    node.start()
    assert eventually(lambda: node.is_in_ring_of(1))
    code, lines = failure(node)
    assert (code, len(lines)) == (18, 1)
    assert f"totem runs already as process {node.pid}; stop it, or choose another directory (--run-dir)" in lines[0]

    (tmp_path / "again").mkdir()
    (same_port,) = totem_ring(stack, tmp_path / "again", port, nodes=1)
    code, lines = failure(same_port)
    assert (code, len(lines)) == (15, 1)
    assert f"UDP 127.0.0.1:{port} is in use" in lines[0]

    (tmp_path / "bad").mkdir()
    (bad,) = totem_ring(stack, tmp_path / "bad", port, nodes=1, options="  token: soon\n")
    code, lines = failure(bad)
    assert (code, len(lines)) == (8, 1)
    assert "corosync.conf:" in lines[0]
    assert node.is_in_ring_of(1), "it was not disturbed"

    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    (deep_one,) = totem_ring(stack, deep, port, nodes=1)
    code, lines = failure(deep_one)
    assert (code, len(lines)) == (15, 1)
    assert "a socket's path has at most 107 bytes" in lines[0]


def test_a_node_without_its_address_is_isolated_and_says_so(stack: ExitStack, tmp_path: Path) -> None:
    (node,) = totem_ring(stack, tmp_path, reserve_port(stack), nodes=1, addresses="192.0.2.9{}")
    node.start()
    assert eventually(lambda: (node.status() or {}).get("state") == "isolated")
    assert node.end(signal.SIGTERM) == 0
    assert (
        len(
            [
                line
                for line in node.lines()
                if "This node is isolated: no interface of this machine has the address 192.0.2.91" in line
            ]
        )
        == 1
    )


KINDS_OF_GARBAGE = {"bad_type", "bad_version", "too_many_entries", "too_short", "unknown_member"}
"""Of what begins as a packet. The rest is a stranger's, and the kernel drops it while it comes in numbers."""


def test_garbage_from_the_network_changes_nothing(stack: ExitStack, tmp_path: Path) -> None:
    nodes = started_ring(stack, tmp_path, token_ms=CALM_MS)
    victim = nodes[0]
    status = victim.status()
    assert status is not None
    ring, port = status["ring"], int((tmp_path / "corosync.conf").read_text().split("mcastport: ")[1].split()[0])
    rng = random.Random(4711)
    lines_before, memory_before = len(victim.lines()), 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.bind(("127.0.0.2", 0))  # a member's address: these pass the address filter
        for number in range(40_000):
            out.sendto(_garbage(rng, RingId(**ring)), ("127.0.0.1", port))
            if number % 200 == 0:
                time.sleep(0.01)
            if number == 10_000:
                memory_before = victim.resident_kib()
    for node in nodes:
        assert node.is_in_ring_of(1, 2, 3), node.lines()
        assert node.status()["ring"] == ring  # type: ignore[index]
    status = victim.status()
    assert status is not None
    assert sum(status["dropped"].values()) > 10_000
    assert status["dropped"].keys() >= KINDS_OF_GARBAGE, status["dropped"]
    assert status["counters"]["rx_stranger"] > 0
    assert victim.resident_kib() - memory_before < 4096
    assert len(victim.lines()) - lines_before < 50, victim.lines()


def _garbage(rng: random.Random, ring: RingId) -> bytes:
    """Random bytes, random bodies under a right header, and frames of the ring in force that are slightly wrong."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randbytes(rng.randrange(200))
    if kind == 1:
        return b"\x70\xc0\x03" + bytes([rng.randrange(8), rng.randrange(4)]) + rng.randbytes(rng.randrange(120))
    frame = bytearray(rng.choice(_frames(RingId(ring.representative, ring.sequence + 4 * rng.randrange(-1, 1)))))
    if kind == 2:
        # Within the fixed part: an mcast whose payload alone is cut is not garbage but a forgery.
        return bytes(frame[: rng.randrange(min(len(frame), MCAST_HEADER_SIZE))])
    frame[rng.randrange(3)] ^= 1 << rng.randrange(8)  # the magic or the version
    return bytes(frame)


def _frames(ring: RingId) -> list[bytes]:
    return [
        encode_token(Token(3, 5, 5, 5, 0, ring, rtr=[(ring, 6)])),
        encode_mcast(2, 7, 7, ring, b"\0\0\0\0\0\0\1\0\4\0abcd"),
        encode_merge(Merge(2, 2, ring)),
        encode_hold_cancel(HoldCancel(2, ring)),
        encode_commit(Commit(2, 1, ring, (1, 2, 3), [CommitEntry()] * 3)),
    ]
