"""The nodes of the demo: real nodes with real sockets on 127.0.0.1, 127.0.0.2 ..., in a directory that is removed.

Several demos may run at once: each has its own directory, UDP port, cluster name and key.
"""

import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rondo.cli.output import CommandError
from rondo.config import NodeConfig, key, load, resolve
from rondo.node.supervision import processes, survey
from rondo.node.supervision.halt import halt, kill
from rondo.node.supervision.launch import Launched, launch, wait_until_ready
from rondo.node.supervision.logfiles import MergedLog, log_files
from rondo.paths import socket_endpoint

TOKEN_TIMEOUT_MS = 2000
"""Less than the default, to save time. Not less than this: a busy machine that starts a dozen processes at once may
keep one from running for a second, and then the ring would break."""

PORTS = range(10_000, 32_000)
"""Below the ports that Linux assigns to clients."""
PORT_ATTEMPTS = 100

CONFIGURATION = """\
totem {{
    version: 2
    cluster_name: {name}
    transport: udpu
    keyfile: {key_file}
    token: {token_timeout_ms}
    token_coefficient: 0
    interface {{
        mcastport: {port}
    }}
}}

nodelist {{
{nodes}}}

quorum {{
    provider: corosync_votequorum
}}
"""
NODE = """\
    node {{
        nodeid: {node_id}
        ring0_addr: {address}
    }}
"""


class DemoNode:
    """One node: its directories and, while it runs, its supervisord."""

    def __init__(self, config: NodeConfig, directory: Path) -> None:
        self.config = config
        self.node_id = config.node_id
        self.run_dir = directory / "run"
        self.state_dir = directory / "state"
        for each in (self.run_dir, self.state_dir):
            each.mkdir(mode=0o700, parents=True)
        self.endpoint = socket_endpoint(self.run_dir, "gateway.sock")
        self._launched: Launched | None = None

    def launch(self) -> None:
        """Start it, without waiting for it. Raises CommandError."""
        self._launched = launch(self.config, self.run_dir, self.state_dir)

    def wait_until_ready(self) -> None:
        """Return once it serves clients. Raises CommandError."""
        if self._launched is not None:
            wait_until_ready(self._launched)

    def members(self) -> list[int]:
        """The members of its ring, as the node reports them; none while a ring forms."""
        totem = survey.ask_one(self.run_dir, "totem")
        return list(totem["members"]) if totem is not None and survey.is_in_ring(totem) else []

    def is_quorate(self) -> bool:
        """True if the node reports quorum."""
        control = survey.ask_one(self.run_dir, "control")
        return control is not None and control["quorate"] is True

    def pause(self) -> None:
        """SIGSTOP to all its processes."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT to all its processes."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for each in processes.find(self.run_dir):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each.pid, number)

    def kill(self) -> None:
        """kill -9 of supervisord and all services."""
        kill(self.run_dir)
        self._reap()

    def stop(self) -> None:
        """`rondo stop`."""
        halt(self.run_dir)
        self._reap()

    def _reap(self) -> None:
        if self._launched is not None:
            self._launched.supervisor.wait()
            self._launched = None

    def last_lines(self, count: int) -> list[str]:
        """The end of its logs."""
        return [f"node {self.node_id}: {line.text}" for line in MergedLog(log_files(self.run_dir)).read()[-count:]]


class DemoCluster:
    """All nodes of a demo. Use it in a `with` statement: it leaves nothing behind."""

    def __init__(self, count: int) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="rondo-demo-", dir="/tmp"))  # sockets need a short path
        try:
            self.port = free_port([address_of(node_id) for node_id in range(1, count + 1)])
            self.nodes = {config.node_id: self._node(config) for config in self._configurations(count)}
        except BaseException:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise

    @property
    def directory(self) -> Path:
        """Where everything of the demo is."""
        return self._directory

    def _configurations(self, count: int) -> list[NodeConfig]:
        key_file = self._directory / "authkey"
        key.write_key(key_file)
        text = CONFIGURATION.format(
            name=f"demo-{secrets.token_hex(4)}",
            key_file=key_file,
            token_timeout_ms=TOKEN_TIMEOUT_MS,
            port=self.port,
            nodes="".join(NODE.format(node_id=each, address=address_of(each)) for each in range(1, count + 1)),
        )
        path = self._directory / "corosync.conf"
        path.write_text(text, encoding="utf-8")
        return [
            resolve(load(path, node_id=node_id), state_dir=self._directory / str(node_id) / "state")
            for node_id in range(1, count + 1)
        ]

    def _node(self, config: NodeConfig) -> DemoNode:
        return DemoNode(config, self._directory / str(config.node_id))

    def start(self) -> None:
        """Start all nodes at once and wait until each serves clients. Raises CommandError."""
        for node in self.nodes.values():
            node.launch()
        for node in self.nodes.values():
            node.wait_until_ready()

    def __enter__(self) -> "DemoCluster":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        # After a failure or an interruption the nodes need not be stopped in order.
        end = DemoNode.stop if kind is None else DemoNode.kill
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(end, self.nodes.values()))
        shutil.rmtree(self._directory, ignore_errors=True)


def address_of(node_id: int) -> str:
    """The node's address; the whole of 127/8 is this machine."""
    return f"127.0.0.{node_id}"


def free_port(addresses: list[str]) -> int:
    """A UDP port that is free on all addresses. Raises CommandError."""
    for port in random.sample(PORTS, PORT_ATTEMPTS):
        with contextlib.ExitStack() as stack:
            try:
                for address in addresses:
                    stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind((address, port))
            except OSError:
                continue
            return port
    raise CommandError(f"no UDP port from {PORTS.start} to {PORTS.stop} could be bound on {addresses[-1]}")
