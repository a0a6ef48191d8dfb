"""Three nodes, each with web{}, some applications on them, and a browser on the host of node 1."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from secrets import token_hex

from rondo.testing.lab.faults import Faults
from rondo.testing.lab.netns import Lab
from rondo.testing.lab.node import Node
from rondo.testing.lab.rondo_node import REPOSITORY
from tests.cluster.browser.chromium import Browser

PAGE = "http://127.0.0.1:5480/"
NAMES = ("alpha", "beta", "gamma")
TOKEN_MS = 300
CONFIGURATION = """\
totem {{
    version: 2
    cluster_name: example
    transport: udpu
    secauth: off
    token: {token_ms}
    token_coefficient: 0
}}
nodelist {{
{nodes}}}
quorum {{
    provider: corosync_votequorum
}}
system {{
    qb_ipc: no
}}
web {{
}}
"""
FORMED = re.compile(r"(\S+) notice +\[TOTEM \] A new membership .*")


@dataclass(frozen=True)
class Scene:
    """The nodes, and the browser."""

    lab: Lab
    nodes: dict[int, Node]
    faults: Faults
    browser: Browser

    def rondo(self, number: int, *arguments: str) -> str:
        """The output of a command on a host."""
        environment = {"PYTHONPATH": str(REPOSITORY), "RONDO_RUN_DIR": str(self.nodes[number].run_dir)}
        argv = [sys.executable, "-m", "rondo.cli.main", *arguments]
        return self.lab.host(number).run(argv, environment=environment).stdout

    def formed_s(self, number: int) -> float:
        """When a node formed its present ring, in seconds since 1970."""
        found = [matched[1] for line in self.nodes[number].log("totem").splitlines() if (matched := FORMED.match(line))]
        return datetime.fromisoformat(found[-1]).timestamp()


@contextmanager
def scene(directory: Path) -> Iterator[Scene]:
    """Set the scene up: the nodes are in one ring, and the browser is open with an empty page."""
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(directory / "lab", len(NAMES)))
        config = directory / "corosync.conf"
        listed = "".join(
            f"    node {{\n        nodeid: {host.number}\n        name: {NAMES[host.number - 1]}\n"
            f"        ring0_addr: {host.address}\n    }}\n"
            for host in lab.hosts.values()
        )
        config.write_text(CONFIGURATION.format(token_ms=TOKEN_MS, nodes=listed))
        token = f"rondo-{token_hex(4)}"
        nodes = {number: Node(host, config, token) for number, host in lab.hosts.items()}
        for node in nodes.values():
            stack.callback(node.kill)
            node.launch()
        for node in nodes.values():
            node.wait_until_started()
        host = lab.host(1)
        found = Scene(lab, nodes, Faults(lab), stack.enter_context(Browser(host.directory, host.entry)))
        _populate(found)
        yield found


def _populate(found: Scene) -> None:
    """Start members of groups on all nodes, and applications under SAM on two of them."""
    for number, node in found.nodes.items():
        for group in ("ledger", "chat")[: 2 if number < len(found.nodes) else 1]:
            argv = [sys.executable, "-m", "rondo.cli.main", "cpg", "join", group, "--socket", node.socket]
            node.host.popen(
                argv, environment={"PYTHONPATH": str(REPOSITORY)}, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
            )
    for number in (1, 2):
        found.rondo(number, "sam", "run", "--", "sleep", "600")
