"""The same on Rondo nodes and on C Corosync: two clusters in labs of their own, with the same names and addresses."""

import re
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.netns import Host, Lab
from rondo.testing.lab.node import Node
from rondo.testing.lab.process import Process
from rondo.testing.lab.ring_config import PATIENT, AnyConfig, KnetConfig, RingConfig, Transport
from rondo.testing.lab.ring_nodes import Cluster
from rondo.testing.lab.waiting import wait_for
from tests.interop.c_programs import nodes_from, wait_until_whole

TIMEOUT_S = 60.0


class Side(ABC):
    """One cluster. Commands run on the host of the first node; the last node is lost and comes back."""

    def __init__(self, name: str, lab: Lab) -> None:
        self.name = name
        self.lab = lab
        self.hosts = list(lab.hosts.values())

    @property
    def host(self) -> Host:
        """The host on which programs run."""
        return self.hosts[0]

    @abstractmethod
    def lose(self) -> None:
        """Kill the last node. Does not wait until the others have noticed."""

    @abstractmethod
    def regain(self) -> None:
        """Start it again, and wait until all are in one ring."""

    def said(self, *argv: str) -> str:
        """The output of a command. Its exit status is added as a last line if it is not 0."""
        done = self.host.run(argv, check=False)
        ended = f"exit status {done.returncode}\n" if done.returncode else ""
        return done.stdout + done.stderr + ended

    def start(self, name: str, *argv: str) -> Process:
        """Start a program with line-buffered output, and with a standard input that stays open."""
        path = self.host.directory / f"{name}.out"
        with path.open("ab") as output:
            argv = ("stdbuf", "-oL", *argv)
            popen = self.host.popen(argv, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT)
        return Process(popen, f"{self.name}/{name}", path)

    @abstractmethod
    def wait_ended(self) -> None:
        """Wait until nothing of the first node runs any more."""

    @abstractmethod
    def edit(self, old: str, new: str) -> None:
        """Change a text in the configuration files of all nodes."""

    def wait_said(self, pattern: str, *argv: str) -> None:
        """Wait until what a command says has a line with this pattern."""
        wait_for(
            lambda: self.said(*argv),
            lambda text: re.search(pattern, text, re.MULTILINE) is not None,
            f"{self.name}: {pattern} from {argv}",
            TIMEOUT_S,
        )

    def wait_quorate(self, wanted: bool) -> None:
        """Wait until the first node has quorum, or has none."""
        self.wait_said(rf"^Quorate: +{'Yes' if wanted else 'No'}$", "corosync-quorumtool", "-s")


class RondoSide(Side):
    """Nodes as `rondo start` starts them."""

    def __init__(self, lab: Lab, nodes: Sequence[Node], config_path: Path) -> None:
        super().__init__("Rondo", lab)
        self.nodes = nodes
        self._config_path = config_path

    def wait_ended(self) -> None:
        """All its processes."""
        wait_for(self.nodes[0].pids, lambda pids: not pids, "the end of the first Rondo node", TIMEOUT_S)

    def edit(self, old: str, new: str) -> None:
        """Change the file of all nodes."""
        _replace(self._config_path, old, new)

    def lose(self) -> None:
        """Kill the last node."""
        self.nodes[-1].kill()

    def regain(self) -> None:
        """Start it again."""
        self.nodes[-1].launch()
        self.nodes[-1].wait_until_started()
        wait_until_whole(list(self.nodes))


class CSide(Side):
    """Debian's Corosync."""

    def __init__(self, lab: Lab, nodes: Sequence[CorosyncNode]) -> None:
        super().__init__("C", lab)
        self.nodes = nodes
        self.cluster = Cluster(nodes)

    def wait_ended(self) -> None:
        """Its only process."""
        self.nodes[0].process.wait(TIMEOUT_S)

    def edit(self, old: str, new: str) -> None:
        """Change the file of each node."""
        for node in self.nodes:
            _replace(node.config_path, old, new)

    def lose(self) -> None:
        """Kill the last node."""
        self.nodes[-1].kill()

    def regain(self) -> None:
        """Start it again."""
        self.nodes[-1].start()
        self.cluster.wait_ring(*self.cluster.nodes)


@contextmanager
def both_sides(
    directory: Path, count: int, *, transport: Transport = "udpu", quorum: Mapping[str, str | int] | None = None
) -> Iterator[tuple[Side, Side]]:
    """`count` Rondo nodes and `count` C nodes, with names and votes. `quorum` holds further options for votequorum."""
    with ExitStack() as stack:
        labs, configs = [], []
        for name in ("rondo", "c"):
            lab = stack.enter_context(Lab(directory / name, count))
            stack.callback(lambda lab=lab: print(lab.outputs()))  # type: ignore[misc]
            labs.append(lab)
            configs.append(_config(lab, directory / name, transport, quorum or {}))
        nodes = stack.enter_context(nodes_from(list(labs[0].hosts.values()), configs[0], directory / "rondo"))
        c = CSide(labs[1], [CorosyncNode(host, configs[1]) for host in labs[1].hosts.values()])
        c.cluster.start()
        for node in nodes:
            node.wait_until_started()
        wait_until_whole(nodes)
        sides = RondoSide(labs[0], nodes, directory / "rondo" / "corosync.conf"), c
        for side in sides:
            side.wait_said(rf"^Total votes: +{count}$", "corosync-quorumtool", "-s")
        yield sides


def _config(lab: Lab, directory: Path, transport: Transport, quorum: Mapping[str, str | int]) -> AnyConfig:
    if transport == "knet":
        return KnetConfig.of_lab(lab, directory, totem=PATIENT, quorum=quorum)
    return RingConfig.of_lab(lab, transport, totem=PATIENT, quorum=quorum, named=True)


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
