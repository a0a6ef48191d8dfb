"""`rondo.testing.rondo_cluster`: a cluster of real nodes for a test, without root.

    with rondo_cluster(nodes=3) as c:
        cluster = c[1].connect()
        c.kill(3)
        c.wait_members(1, 2)
        c.restart(3)

Each node runs the real processes: those of the ring, of groups, of quorum and of clients. Nothing supervises them, so a
process that dies stays dead until `restart`. The nodes count votes. Each has a network namespace of its own if the
system allows that (root, or user namespaces). Otherwise all are on 127.0.0.1, 127.0.0.2 ..., and `partition`, `heal`
and `loss` raise `Unsupported` with the reason. With the fixture they skip the test.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import rondo
from rondo._client.arguments import check_seconds, number_of, truth_of
from rondo.ipc.control import ControlError, ask
from rondo.paths import socket_endpoint
from rondo.testing.arguments import node_of, sides_of
from rondo.testing.lab.faults import Faults
from rondo.testing.lab.forked import ForkedService, ServiceForker
from rondo.testing.lab.netns import Lab
from rondo.testing.lab.requirements import namespaces_missing

if TYPE_CHECKING:
    from rondo import Cluster

SERVICES = ("totem", "cpg", "control", "ipc_gateway")
"""In the order in which they are started."""
TOKEN_TIMEOUT_MS = 1000
START_S = 60.0
LOOK_S = 0.01
PORTS = range(10_000, 32_000)
PORT_ATTEMPTS = 100
NODES_MAX = 16


class Unsupported(Exception):  # noqa: N818 - it is the system's, and no error of the test
    """The system cannot do what was asked for."""


class TestNode:
    """One node: its processes, while it runs."""

    __test__ = False

    def __init__(
        self, number: int, directory: Path, config: Path, forker: ServiceForker, namespaces: list[str]
    ) -> None:
        self.number = number
        self.run_dir = directory / f"run{number}"
        self._state_dir = directory / f"state{number}"
        for each in (self.run_dir, self._state_dir):
            each.mkdir(mode=0o700)
        self.log = directory / f"node{number}.log"
        """What all its processes have written."""
        self._config = config
        self._forker = forker
        self._namespaces = namespaces
        self._processes: list[ForkedService] = []

    @property
    def endpoint(self) -> str:
        """The endpoint for clients of this node."""
        return socket_endpoint(self.run_dir, "gateway.sock")

    @property
    def pids(self) -> list[int]:
        """The process ids of its processes."""
        return [process.pid for process in self._processes]

    def connect(self, timeout: float | None = START_S) -> Cluster:
        """A connection to this node, as `rondo.connect` makes it."""
        return rondo.connect(self.endpoint, timeout=timeout)

    def start(self) -> None:
        """Start its processes, without waiting for them."""
        for service in SERVICES:
            self.start_service(service)

    def start_service(self, service: str) -> None:
        """Start one of its processes."""
        options = ["-c", str(self._config), "--run-dir", str(self.run_dir), "--nodeid", str(self.number)]
        state = ["--state-dir", str(self._state_dir)] if service in ("totem", "control") else []
        self._processes.append(self._forker.start(service, [*options, *state], self.log, self._namespaces))

    def members(self) -> tuple[int, ...]:
        """The nodes of its ring, once all its processes work in that ring. Before that the list is empty."""
        if not all((self.run_dir / f"{service}.ctl").exists() for service in SERVICES):
            return ()  # who is asked too early would take the processor from what is waited for
        with contextlib.suppress(ControlError):
            totem, cpg, gateway, control = (
                ask(self.run_dir, service, "status") for service in ("totem", "cpg", "ipc_gateway", "control")
            )
            ring = totem.get("ring")
            in_step = ring is not None and cpg["ring"] == {**ring, "members": totem["members"]}
            if in_step and control["ring"] == ring and {cpg["state"], gateway["state"]} == {"operational"}:
                return tuple(totem["members"])
        return ()

    def kill(self) -> None:
        """kill -9 of all its processes. The ring's process is the last, so that it cannot tell others of the end."""
        for process in reversed(self._processes):
            process.kill()
        for process in self._processes:
            process.wait()
        self._processes.clear()

    def lose_state(self) -> None:
        """Remove what the node had on disk. The node must not run."""
        shutil.rmtree(self._state_dir)
        self._state_dir.mkdir(mode=0o700)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all its processes."""
        for process in self._processes:
            process.send_signal(number)


class TestCluster:
    """All nodes of a test, by number."""

    __test__ = False

    def __init__(
        self,
        nodes: int,
        directory: Path,
        forker: ServiceForker,
        lab: Lab | None,
        missing: str,
        unsupported: Callable[[str], NoReturn],
    ) -> None:
        """`missing`: why there is no lab; `unsupported` is called with it where one is needed."""
        addresses = {number: f"127.0.0.{number}" for number in range(1, nodes + 1)}
        namespaces: dict[int, list[str]] = {number: [] for number in addresses}
        self._unsupported = unsupported
        self._missing = missing
        self._faults: Faults | None = None
        if lab is not None:
            addresses = {number: host.address for number, host in lab.hosts.items()}
            namespaces = {number: host.namespaces for number, host in lab.hosts.items()}
            self._faults = Faults(lab)
        config = directory / "corosync.conf"
        config.write_text(_configuration(addresses, 5405 if lab is not None else _free_port(addresses.values())))
        self._nodes = {number: TestNode(number, directory, config, forker, namespaces[number]) for number in addresses}

    def __getitem__(self, node: int) -> TestNode:
        return self._nodes[node_of(node, self._nodes)]

    def __iter__(self) -> Iterator[TestNode]:
        return iter(self._nodes.values())

    def start(self) -> None:
        """Start all nodes, and wait until they are one ring."""
        for service in SERVICES:  # so the code of the next one is loaded while those before find each other
            for node in self._nodes.values():
                node.start_service(service)
        self.wait_members(self._nodes)

    def kill(self, node: int) -> None:
        """Kill a node, as if its power was cut."""
        self[node].kill()

    def pause(self, node: int) -> None:
        """Stop a node's processes (SIGSTOP)."""
        self[node].signal(signal.SIGSTOP)

    def resume(self, node: int) -> None:
        """Let a paused node go on (SIGCONT)."""
        self[node].signal(signal.SIGCONT)

    def restart(self, node: int, *, lose_state: bool = False) -> None:
        """Start a node again. One that runs is killed first. This does not wait; `wait_members` does.
        `lose_state`: remove what it had on disk."""
        self[node].kill()
        if lose_state:
            self[node].lose_state()
        self[node].start()

    def wait_members(self, nodes: int | Iterable[int], timeout: float = START_S) -> None:
        """Wait until these nodes, or this number of nodes, form a ring and serve clients. Raises rondo.Timeout."""
        check_seconds(timeout)
        wanted = None
        if isinstance(nodes, int):
            number_of(nodes, "nodes", 1, len(self._nodes))
        else:
            wanted = tuple(sorted(sides_of([nodes], self._nodes)[0]))
        end_s = time.monotonic() + timeout
        while True:
            seen = {number: node.members() for number, node in self._nodes.items() if node.pids}
            if wanted is not None and all(seen.get(node) == wanted for node in wanted):
                return
            if wanted is None and sum(len(members) == nodes for members in seen.values()) == nodes:
                return
            if time.monotonic() > end_s:
                raise rondo.Timeout(f"nodes {nodes} are no ring of their own; they see {seen}")
            time.sleep(LOOK_S)

    def partition(self, *sides: Iterable[int]) -> None:
        """Separate the sides. Raises Unsupported without a network."""
        self._network().partition(*sides_of(sides, self._nodes))

    def heal(self) -> None:
        """End all splits and losses."""
        self._network().heal()

    def loss(self, percent: float) -> None:
        """Lose this share of the packets in each direction, at random."""
        if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 < percent <= 100:
            raise rondo.InvalidParameter(f"percent: a number above 0, up to 100; not {percent!r:.80}")
        self._network().lose(percent)

    def _network(self) -> Faults:
        if self._faults is None:
            self._unsupported(f"these nodes are all on loopback: {self._missing}")
        return self._faults

    def close(self) -> None:
        """Kill all nodes."""
        for node in self._nodes.values():
            node.kill()


def _raise_unsupported(why: str) -> NoReturn:
    raise Unsupported(why)


@contextlib.contextmanager
def rondo_cluster(
    nodes: int = 3, *, network: bool = True, unsupported: Callable[[str], NoReturn] = _raise_unsupported
) -> Iterator[TestCluster]:
    """A cluster of real nodes, which has started; it is removed at the end. Raises rondo.Timeout.

    `network` False: use no namespaces, even where they are possible. The cluster is then up a little sooner.
    `unsupported` is called with the reason where the system cannot do what a test wants.
    """
    number_of(nodes, "nodes", 1, NODES_MAX)
    truth_of(network, "network")
    directory = Path(tempfile.mkdtemp(prefix="rondo-", dir="/tmp"))  # sockets need a short path
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        forker = ServiceForker(SERVICES[0], directory / "forker.log")
        stack.callback(forker.close)
        missing = namespaces_missing() if network else "network=False"
        lab = stack.enter_context(Lab(directory / "lab", nodes)) if missing is None else None
        cluster = TestCluster(nodes, directory, forker, lab, missing or "", unsupported)
        stack.callback(cluster.close)
        cluster.start()
        yield cluster


def _free_port(addresses: Iterable[str]) -> int:
    for port in random.sample(PORTS, PORT_ATTEMPTS):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for address in addresses:
                stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind((address, port))
            return port
    raise Unsupported(f"no UDP port from {PORTS.start} to {PORTS.stop} could be bound")


def _configuration(addresses: dict[int, str], port: int) -> str:
    listed = "".join(
        f"    node {{\n        nodeid: {node}\n        ring0_addr: {address}\n    }}\n"
        for node, address in addresses.items()
    )
    return (
        f"totem {{\n    version: 2\n    cluster_name: test{port}\n    transport: udpu\n    secauth: off\n"
        f"    token: {TOKEN_TIMEOUT_MS}\n    token_coefficient: 0\n"
        f"    interface {{\n        mcastport: {port}\n    }}\n}}\n"
        f"nodelist {{\n{listed}}}\nquorum {{\n    provider: corosync_votequorum\n}}\n"
        "logging {\n    to_syslog: no\n    to_stderr: yes\n}\n"
    )
