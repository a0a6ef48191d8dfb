"""Two nodes, each on a host of its own with two links of knet: notify of a cable that is pulled, and a report of both
nodes that is fetched as an operator's is, by ssh with nothing said about how. A stand-in for ssh gets into the other
host; what it is called with, and what comes through it, is as with ssh itself.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from rondo.testing.lab.netns import Lab
from rondo.testing.lab.node import Node
from rondo.testing.lab.ring_config import KnetConfig
from rondo.testing.lab.rondo_node import REPOSITORY
from rondo.testing.lab.waiting import wait_for
from tests.conftest import need_namespaces
from tests.unit.report.test_report import contents

SECONDS = 60.0

pytestmark = [pytest.mark.namespaces, pytest.mark.slow]


@dataclass(frozen=True)
class There:
    """The nodes, and what their notify commands have received."""

    lab: Lab
    nodes: dict[int, Node]
    directory: Path
    key: bytes

    def notified(self, number: int) -> list[dict[str, Any]]:
        """The events that a node's notify command has received, in order."""
        path = self.directory / f"notified-{number}"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def forget(self) -> None:
        """Forget the events received so far."""
        for path in self.directory.glob("notified-*"):
            path.unlink()


@pytest.fixture(name="there", scope="module")
def _there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[There]:
    need_namespaces()
    directory = tmp_path_factory.mktemp("hosts")
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(directory / "lab", 2))
        config, token = directory / "corosync.conf", f"rondo-{token_hex(4)}"
        command = directory / "notified"
        command.write_text(f'#!/bin/sh\ncat >> "{directory}/notified-$RONDO_NODE"\n')
        command.chmod(0o755)
        knet = KnetConfig.of_lab(lab, directory)
        config.write_text(knet.text(system={"qb_ipc": "no"}, notify={"command": str(command), "kinds": "link"}))
        nodes = {number: Node(host, config, token) for number, host in lab.hosts.items()}
        for node in nodes.values():
            stack.callback(node.kill)
            node.launch()
        for node in nodes.values():
            node.wait_until_started()
        yield There(lab, nodes, directory, Path(knet.key_file).read_bytes())


def links_up(node: Node) -> set[bool]:
    """The states of a node's links."""
    return {link["up"] for links in node.status("totem")["links"].values() for link in links}


def changes(there: There, own: int) -> set[tuple[str, str, str]]:
    """The events that a node's command has received so far: event, node, link."""
    told = there.notified(own)
    assert {each["kind"] for each in told} <= {"link"}
    return {(each["event"], str(each["detail"].get("node")), str(each["detail"].get("link"))) for each in told}


def test_a_cable_that_is_pulled_and_put_back_is_told_on_both_ends(there: There) -> None:
    def wait_told(event: str, link: int) -> None:
        for own, other in ((1, "2"), (2, "1")):
            wanted = (event, other, str(link))
            wait_for(partial(changes, there, own), lambda told, it=wanted: it in told, f"{wanted} on {own}", SECONDS)  # type: ignore[misc]

    for node in there.nodes.values():
        wait_for(partial(links_up, node), {True}.__eq__, f"links of {node.number}", SECONDS)
        wait_for(partial(node.status, "notify"), bool, f"notify on {node.number}", SECONDS)
    there.forget()
    there.lab.unplug(2, 0)
    wait_told("link.down", 0)
    there.forget()
    there.lab.plug(2, 0)
    wait_told("link.up", 0)


def test_a_report_of_all_nodes_by_ssh(there: There) -> None:
    programs, archive, said = there.directory / "bin", there.directory / "all.tar.gz", there.directory / "said"
    address, node = there.lab.host(2).address_of_link(0), there.nodes[2]
    programs.mkdir()
    enter = f"nsenter --target={node.host.holder_pid} --net --mount -- env RONDO_RUN_DIR={node.run_dir}"
    scripts = {
        "ssh": f'echo "$*" >> {said}\nwhile [ "$1" = -o ]; do shift 2; done\n'
        f'[ "$1" = {address} ] || {{ echo "nobody has the address $1" >&2; exit 255; }}\n'
        f'shift\nexec {enter} sh -c "$*"\n',
        "rondo": f'exec {shlex.quote(sys.executable)} -m rondo.cli.main "$@"\n',
    }
    for name, text in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}")
        (programs / name).chmod(0o755)
    there.lab.host(1).run(
        ["rondo", "report", "--all", "-o", str(archive), "--run-dir", str(there.nodes[1].run_dir)],
        environment={"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)},
    )
    assert said.read_text() == f"-o BatchMode=yes -o ConnectTimeout=5 {address} rondo report -o -\n"
    found = contents(archive)
    assert "nodes/missing.json" not in found
    inner = there.directory / "inner.tar.gz"
    inner.write_bytes(found["nodes/2.tar.gz"])
    reports = {1: found, 2: contents(inner)}
    assert {number: json.loads(each["status.json"])["node"] for number, each in reports.items()} == {1: 1, 2: 2}
    for each in reports.values():
        assert b"A new membership" in each["log/totem.log"]
        for form in (there.key, there.key.hex().encode()):
            assert all(form not in data for data in each.values())
