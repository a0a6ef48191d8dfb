"""What the tests of C programs on Rondo nodes have in common: the nodes, the members, and the compiled programs."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rondo.testing.lab.netns import Host, Lab
from rondo.testing.lab.node import Node
from rondo.testing.lab.process import Process
from rondo.testing.lab.ring_config import AnyConfig, RingConfig
from rondo.testing.lab.rondo_node import REPOSITORY
from rondo.testing.lab.waiting import wait_for
from tests.interop.cpg_member import CpgMember

SOURCES = Path(__file__).parent / "c"
READY_TIMEOUT_S = 60.0


class NodeMember(CpgMember):
    """A member on Rondo's own client, at a node that `rondo start` started."""

    def __init__(self, node: Node, group: str, name: str) -> None:
        self._node = node
        super().__init__(node.host, group, name)

    def _launch(self, output: IO[bytes]) -> "subprocess.Popen[bytes]":
        argv = [sys.executable, "-m", "tests.interop.rondo_client", self._node.socket, self.group]
        environment = {"PYTHONPATH": str(REPOSITORY)}
        return self.host.popen(
            argv, environment=environment, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT
        )


@contextmanager
def nodes_of(
    lab: Lab,
    directory: Path,
    *,
    named: bool = False,
    totem: Mapping[str, str | int] | None = None,
    **sections: Mapping[str, str | int],
) -> Iterator[list[Node]]:
    """A node on each host, all in one ring and serving C programs; killed at the end. `named`: node N is called nN;
    `totem` has options of that section, and `sections` are added to their configuration."""
    config = RingConfig.of_lab(lab, "udpu", named=named, totem=totem)
    with nodes_from(list(lab.hosts.values()), config, directory, **sections) as nodes:
        for node in nodes:
            node.wait_until_started()
        wait_until_whole(nodes)
        yield nodes


@contextmanager
def nodes_from(
    hosts: Sequence[Host], config: AnyConfig, directory: Path, **sections: Mapping[str, str | int]
) -> Iterator[list[Node]]:
    """A node on each of these hosts, which is to serve C programs; started, and killed at the end. Does not wait."""
    path = directory / "corosync.conf"
    path.write_text(config.text(system={"qb_ipc": "yes"}, **sections))
    # Of their own: other tests that run at the same time have directories of the same name elsewhere, and a node that
    # is started ends what an earlier life of it has left in its run directory.
    token = f"qb-{os.getpid()}-{secrets.token_hex(4)}"
    nodes = [Node(host, path, token) for host in hosts]
    try:
        for node in nodes:
            node.launch()
        yield nodes
    finally:
        for node in nodes:
            print(node.log("qb_gateway"))
            node.kill()


def wait_until_whole(nodes: list[Node]) -> None:
    """Return when all are in one ring, and each serves C programs."""
    wanted = tuple(node.number for node in nodes)

    def is_whole(node: Node) -> bool:
        view = node.view()
        if view is None or not view.ready or view.members != wanted:
            return False
        ring = {"representative": view.representative, "sequence": view.sequence}
        is_in_step = node.status("control").get("ring") == ring
        return is_in_step and node.status("qb_gateway").get("state") == "operational"

    for node in nodes:
        wait_for(lambda node=node: is_whole(node), bool, f"node {node.number} is whole", READY_TIMEOUT_S)  # type: ignore[misc]


def compiled(directory: Path, name: str, library: str = "-lcpg") -> str:
    """The path of the program NAME, compiled against one of Debian's libraries."""
    program = directory / name
    if not program.exists():
        options = ["-O2", "-Wall", "-Wextra", "-Wno-stringop-truncation"]
        subprocess.run(["gcc", *options, "-o", program, SOURCES / f"{name}.c", library], check=True)
    return str(program)


def start_load(host: Host, program: str, *arguments: object, name: str = "load") -> Process:
    """Start `load` (tests/interop/c/load.c) on a host."""
    return host.start([program, *map(str, arguments)], name)


def result_of(load: Process, timeout_s: float) -> dict[str, str]:
    """Wait for the end of `load`. Returns its results by name."""
    status = wait_for(lambda: load.exit_status, lambda status: status is not None, "the end of load", timeout_s)
    assert status == 0, load.output()[-500:]
    words = next(line for line in load.output().splitlines() if line.startswith("total ")).split()
    return dict(zip(words[::2], words[1::2], strict=True))
