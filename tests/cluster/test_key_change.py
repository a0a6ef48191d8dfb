"""The key of a ring is changed while applications send: by the commands, on real processes, with a node restarted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import rondo
from rondo.config.key import fingerprint, read_key, write_key
from rondo.testing.lab.totem_nodes import START_SECONDS, TotemNode, eventually, totem_ring
from tests.ports import reserve_port

NODES = (1, 2, 3)
CALM_MS = 20_000
"""A token time-out that a busy machine does not reach: a packet that is refused shows as a retransmission, not as a
new ring."""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def key_command(node: TotemNode, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `rondo key ARGUMENTS` on a node."""
    command = [sys.executable, "-m", "rondo.cli.main", "key", *map(str, arguments), "--run-dir", str(node.run_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS, check=False)
    assert "Traceback" not in done.stderr
    if check:
        assert done.returncode == 0, done.stderr
    return done


def key_status(node: TotemNode) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(key_command(node, "status", "--json").stdout)
    return found


def ring_of(node: TotemNode) -> dict[str, Any]:
    status = node.status()
    assert status is not None
    found: dict[str, Any] = status["ring"]
    return found


class Talker(threading.Thread):
    """An application that sends numbers until it is told to stop, and notes what its group delivers."""

    def __init__(self, node: TotemNode) -> None:
        super().__init__(daemon=True)
        self.node = node
        self.enough = threading.Event()
        self.joined = threading.Barrier(len(NODES))
        self.sent = 0
        self.seen: list[bytes] = []
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            with rondo.connect(f"ipc://{self.node.run_dir}/gateway.sock", timeout=START_SECONDS) as cluster:
                group = cluster.cpg.join("talk")
                while len(group.members) < len(NODES):
                    group.poll(timeout=START_SECONDS)
                while not self.enough.is_set():
                    for _ in range(20):
                        group.mcast(b"%d %d" % (self.node.node, self.sent))
                        self.sent += 1
                    self._take(group, 0.01)
                group.mcast(b"%d end" % self.node.node)
                while sum(each.endswith(b"end") for each in self.seen) < len(NODES):
                    self._take(group, START_SECONDS)
        except Exception as error:  # the test reports it
            self.error = error

    def _take(self, group: Any, timeout: float) -> None:
        event = group.poll(timeout=timeout)
        while event is not None:
            if isinstance(event, rondo.Message):
                self.seen.append(event.data)
            event = group.poll(timeout=0)


def start_upper_services(stack: ExitStack, node: TotemNode) -> None:
    for service in ("cpg", "ipc_gateway"):
        command = [part if part != "services.totem" else f"services.{service}" for part in node.command]
        without_state = command.index("--state-dir")
        del command[without_state : without_state + 2]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(process.wait, START_SECONDS)
        stack.callback(process.kill)


def in_one_ring(*nodes: TotemNode) -> None:
    numbers = [node.node for node in nodes]
    for node in nodes:
        assert eventually(lambda node=node: node.is_in_ring_of(*numbers)), node.lines()  # type: ignore[misc]


KNET = "  crypto_cipher: aes256\n  crypto_hash: sha256\n"
REFUSED = {
    "udpu": ("security_wrong_key", "security_replayed", "security_malformed"),
    "knet": ("knet_rx_digest", "knet_rx_not_knet", "knet_rx_in_the_clear"),
}


def counted(node: TotemNode, name: str) -> int:
    """The value of a counter; 0 if nothing has been counted yet."""
    status = node.status()
    assert status is not None
    return int(status["counters"].get(name, 0))


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["udpu", "knet"])
def test_no_packet_is_lost_while_the_key_is_changed(stack: ExitStack, tmp_path: Path, transport: str) -> None:
    """All steps on all nodes, with messages of all on their way; no packet is refused, no ring is formed."""
    old, new = tmp_path / "authkey", tmp_path / "authkey.new"
    old_key, new_key = fingerprint(write_key(old)), fingerprint(write_key(new))
    security = f"  keyfile: {old}\n" + (KNET if transport == "knet" else "")
    port = reserve_port(stack)
    nodes = totem_ring(stack, tmp_path, port, transport=transport, security=security, token_ms=CALM_MS)
    for node in nodes:
        node.start()
    in_one_ring(*nodes)
    refused = {node.node: counted(node, "security_unknown_boot") for node in nodes}
    talkers = [Talker(node) for node in nodes]
    for node, talker in zip(nodes, talkers, strict=True):
        start_upper_services(stack, node)
        talker.start()
        stack.callback(talker.enough.set)
    assert eventually(lambda: all(len(talker.seen) > 100 for talker in talkers)), [t.error for t in talkers]
    ring = ring_of(nodes[0])  # each cpg that has started has asked for one

    one, two, three = nodes
    assert f"the key {new_key} is installed on this node" in key_command(one, "install", new).stdout
    done = key_command(one, "use", new, "--timeout", "0", check=False)
    assert done.returncode == 1
    assert "nodes 2 3" in done.stderr
    key_command(two, "install", new)
    done = key_command(one, "use", new_key, check=False)
    assert done.stderr == (
        "error: totem: node 3 does not have this key; install it there first, or use --force and cut it off\n"
    )
    key_command(three, "install", new)
    for node in nodes:
        key_command(node, "use", new_key[:9])
        assert node.is_in_ring_of(*NODES)
    done = key_command(one, "remove", new, check=False)
    assert "is in use here; use another one first" in done.stderr
    assert [key["in_use"] for key in key_status(one)["keys"]] == [False, True]
    for node in nodes:
        done = key_command(node, "remove", old_key)
        assert f"{old} still holds the key {old_key}" in done.stderr
    sent_before = sum(talker.sent for talker in talkers)
    assert eventually(lambda: sum(talker.sent for talker in talkers) > sent_before + 100)
    for talker in talkers:
        talker.enough.set()
    for talker in talkers:
        talker.join(START_SECONDS)
        assert talker.error is None
        assert not talker.is_alive()
    first = talkers[0].seen
    for talker in talkers:
        own = [each for each in first if each.startswith(b"%d " % talker.node.node) and not each.endswith(b"end")]
        assert own == [b"%d %d" % (talker.node.node, n) for n in range(talker.sent)]
        assert talker.seen[-1000:] == first[-1000:]
    for node in nodes:
        assert ring_of(node) == ring, node.lines()
        assert [key["fingerprint"] for key in key_status(node)["keys"]] == [new_key]
        assert [reason for reason in REFUSED[transport] if counted(node, reason)] == []
        assert counted(node, "security_unknown_boot") == refused[node.node]
        assert not any("invalid digest" in line for line in node.lines()), node.lines()


@pytest.mark.slow
def test_a_change_goes_on_after_restarts(stack: ExitStack, tmp_path: Path) -> None:
    """A node that is killed between two steps comes back with the keys it had, its key file notwithstanding."""
    old, new = tmp_path / "authkey", tmp_path / "authkey.new"
    write_key(old)
    new_key = fingerprint(write_key(new))
    nodes = totem_ring(stack, tmp_path, reserve_port(stack), 2, security=f"  keyfile: {old}\n")
    one, two = nodes
    for node in nodes:
        node.start()
    in_one_ring(*nodes)
    for node in nodes:
        key_command(node, "install", new)
    two.end(signal.SIGKILL)
    in_one_ring(one)
    done = key_command(one, "use", new, check=False)
    assert "node 2 sent no notice of its keys in the last seconds" in done.stderr
    two.start()
    in_one_ring(*nodes)
    for node in nodes:
        key_command(node, "use", new)
    two.end(signal.SIGKILL)
    two.start()
    in_one_ring(*nodes)
    for node in nodes:
        key_command(node, "remove", old)
    one.end(signal.SIGTERM)
    one.start()
    in_one_ring(*nodes)
    for node in nodes:
        assert [key["fingerprint"] for key in key_status(node)["keys"]] == [new_key]
    # Once the key file has the new key, the node needs nothing else.
    old.chmod(0o600)
    old.write_bytes(read_key(new))
    two.end(signal.SIGKILL)
    (two.state_dir / "keyring").unlink()
    two.start()
    in_one_ring(*nodes)
    assert key_command(one, "status").stdout.splitlines()[0] == f"aes256-gcm, key file {old}"


def test_without_security_there_are_no_keys(stack: ExitStack, tmp_path: Path) -> None:
    (node,) = totem_ring(stack, tmp_path, reserve_port(stack), 1)
    node.start()
    in_one_ring(node)
    done = key_command(node, "status", check=False)
    assert (done.returncode, done.stderr) == (
        1, "error: totem: packet security is switched off; there are no keys\n"
    )  # fmt: skip
