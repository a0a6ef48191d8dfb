"""Sixteen complete nodes on one machine, 127.0.0.1 to 127.0.0.16: they form one ring, and 100 messages from each
arrive everywhere in one order.

48 processes start at once on whatever there is of processors, so the ring forms while most of its members are late. The
applications are this process: one client of each node, over its own gateway. No rights are needed.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import rondo
from rondo import config
from rondo.ipc.control import ControlError, ask
from rondo.testing.lab.rondo_node import SUSPICIOUS
from rondo.testing.lab.waiting import wait_for
from tests.ports import reserve_port

NODES = 16
MESSAGES_EACH = 100
FORM_TIMEOUT_S = 90.0
DELIVER_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
SERVICES = ("totem", "cpg", "ipc_gateway")


class Node:
    """The three processes of one node, and where to ask them."""

    def __init__(self, number: int, resolved: Path, directory: Path) -> None:
        self.number = number
        self.run_dir = directory / f"r{number}"
        self.run_dir.mkdir(mode=0o700)
        self._stderr = directory / f"node{number}.out"
        options = ["--resolved", str(resolved), "--run-dir", str(self.run_dir)]
        state = ["--state-dir", str(directory / f"s{number}")]
        with self._stderr.open("ab") as output:
            self._processes = [
                subprocess.Popen(
                    [sys.executable, "-m", f"services.{name}", *options, *(state if name == "totem" else [])],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=output,
                )
                for name in SERVICES
            ]

    @property
    def endpoint(self) -> str:
        """What a client connects to."""
        return f"ipc://{self.run_dir}/gateway.sock"

    def _ask(self, service: str) -> dict[str, Any]:
        try:
            return ask(self.run_dir, service, "status")
        except ControlError:
            return {}

    def ring(self) -> tuple[int, int, tuple[int, ...]] | None:
        """Representative, sequence and members of the ring on which its groups are in step; None if there is none."""
        for process in self._processes:
            assert process.poll() is None, f"node {self.number} has lost a process: {self.log()}"
        cpg = self._ask("cpg")
        if cpg.get("state") != "operational" or self._ask("ipc_gateway").get("state") != "operational":
            return None
        ring = cpg["ring"]
        return ring["representative"], ring["sequence"], tuple(ring["members"])

    def log(self) -> str:
        """What the three wrote."""
        return self._stderr.read_text(errors="replace")

    def stop(self) -> list[int]:
        """Stop the processes, from the clients' side down; their exit codes."""
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
        return [process.wait(STOP_TIMEOUT_S) for process in self._processes]

    def kill(self) -> None:
        """Kill what still runs."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def configuration(directory: Path, port: int) -> Path:
    """A corosync.conf of all nodes."""
    nodes = "".join(
        f"  node {{\n    ring0_addr: 127.0.0.{number}\n    nodeid: {number}\n  }}\n" for number in range(1, NODES + 1)
    )
    path = directory / "corosync.conf"
    path.write_text(
        "totem {\n  version: 2\n  cluster_name: sixteen\n  transport: udpu\n  secauth: off\n"
        f"  interface {{\n    mcastport: {port}\n  }}\n}}\n"
        f"nodelist {{\n{nodes}}}\nlogging {{\n  to_stderr: yes\n  to_syslog: no\n}}\nsystem {{\n  sched_rr: no\n}}\n"
    )
    return path


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Node]]:
    """All nodes, started at the same time. The configuration is read here, once, as `rondo start` does."""
    with ExitStack() as stack:
        path = configuration(tmp_path, reserve_port(stack))
        made = []
        for number in range(1, NODES + 1):
            state_dir = tmp_path / f"s{number}"
            state_dir.mkdir(mode=0o700)
            resolved = tmp_path / f"resolved{number}"
            config.resolve(config.load(path, node_id=number), state_dir=state_dir).save(resolved)
            node = Node(number, resolved, tmp_path)
            made.append(node)
            stack.callback(node.kill)
        yield made


def wait_one_ring(nodes: list[Node]) -> None:
    """Wait until the groups of all nodes are in step on one ring of all."""
    everybody = tuple(range(1, NODES + 1))

    def look() -> list[tuple[int, int, tuple[int, ...]] | None]:
        rings = []
        for node in nodes:
            rings.append(node.ring())
            if rings[-1] is None or rings[-1] != rings[0]:
                break  # a question takes time from the nodes: the others are asked when this one has got there
        return rings

    def is_one(rings: list[tuple[int, int, tuple[int, ...]] | None]) -> bool:
        first = rings[0]
        return first is not None and first[2] == everybody and rings == [first] * NODES

    wait_for(look, is_one, f"one ring of {NODES}", FORM_TIMEOUT_S)


def collect(group: rondo.Group, count: int) -> list[tuple[rondo.Member, bytes]]:
    """Take events until so many messages have come; (sender, data) of each."""
    messages: list[tuple[rondo.Member, bytes]] = []
    deadline = time.monotonic() + DELIVER_TIMEOUT_S
    while len(messages) < count:
        event = group.poll(timeout=max(0.0, deadline - time.monotonic()))
        assert event is not None, f"{len(messages)} of {count} messages after {DELIVER_TIMEOUT_S} s"
        assert not isinstance(event, rondo.Disconnected | rondo.UnknownOutcome), event
        if isinstance(event, rondo.Message):
            assert event.configuration is rondo.Configuration.REGULAR
            messages.append((event.sender, event.data))
    return messages


@pytest.mark.slow
def test_sixteen_nodes_form_one_ring_with_one_order(nodes: list[Node]) -> None:
    wait_one_ring(nodes)
    with ExitStack() as stack:
        clusters = [stack.enter_context(rondo.connect(node.endpoint, timeout=60.0)) for node in nodes]
        assert [cluster.node_id for cluster in clusters] == list(range(1, NODES + 1))
        groups = [cluster.cpg.join("all", timeout=60.0) for cluster in clusters]
        for number in range(MESSAGES_EACH):
            for cluster, group in zip(clusters, groups, strict=True):
                group.mcast(f"{cluster.node_id}:{number}".encode())
        seen = [collect(group, NODES * MESSAGES_EACH) for group in groups]
        for node, messages in zip(nodes, seen, strict=True):
            assert messages == seen[0], f"node {node.number} saw another order than node 1"
        for cluster in clusters:
            mine = [data for sender, data in seen[0] if sender == rondo.Member(cluster.node_id, cluster.pid)]
            assert mine == [f"{cluster.node_id}:{number}".encode() for number in range(MESSAGES_EACH)]
        members = tuple(rondo.Member(cluster.node_id, cluster.pid) for cluster in clusters)
        assert clusters[0].cpg.groups(timeout=60.0) == [
            {"group": "all", "members": [{"node": member.node, "pid": member.pid} for member in members]}
        ]
    # Looked at before the end: the processes of a node are told to stop at once, and cpg may see its totem go first.
    for node in nodes:
        assert SUSPICIOUS.search(node.log()) is None
    assert [node.stop() for node in nodes] == [[0, 0, 0]] * NODES
