"""Totem processes whose rings have a secret of their own, or do not, and say why."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rondo.config.key import write_key
from rondo.testing.lab.totem_nodes import START_SECONDS, TotemNode, eventually, totem_ring
from rondo.testing.lab.waiting import wait_for
from tests.ports import reserve_port


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def ring(stack: ExitStack, directory: Path, *modes: str, transport: str = "udpu") -> list[TotemNode]:
    """Nodes 1, 2, ... with these values of totem.forward_secrecy. An empty value is left out of the file."""
    write_key(directory / "authkey")
    port = reserve_port(stack)
    nodes = []
    for number, mode in enumerate(modes, 1):
        place = directory / f"{number}"
        place.mkdir()
        security = f"  keyfile: {directory / 'authkey'}\n" + (f"  forward_secrecy: {mode}\n" if mode else "")
        made = totem_ring(stack, place, port, len(modes), transport=transport, security=security)
        nodes.append(made[number - 1])
    return nodes


def secrecy_of(node: TotemNode) -> dict[str, Any]:
    """What it says of it; nothing while it does not answer."""
    status = node.status()
    found: dict[str, Any] = {} if status is None else status["forward_secrecy"]
    return found


def in_one_ring(*nodes: TotemNode) -> None:
    numbers = [node.node for node in nodes]
    for node in nodes:
        assert eventually(lambda node=node: node.is_in_ring_of(*numbers)), node.lines()  # type: ignore[misc]


def start(*nodes: TotemNode) -> None:
    for node in nodes:
        node.start()


def test_it_is_on_by_default_and_stays_on_while_nodes_come_and_go(stack: ExitStack, tmp_path: Path) -> None:
    nodes = ring(stack, tmp_path, "", "", "")
    start(*nodes)
    in_one_ring(*nodes)
    wanted = {"mode": "auto", "on": True, "why": "", "nodes_without": [], "nodes_refused": []}
    wait_for(lambda: [secrecy_of(node) for node in nodes], ([wanted] * 3).__eq__, "it is on", START_SECONDS)
    nodes[1].end(signal.SIGKILL)
    in_one_ring(nodes[0], nodes[2])
    nodes[1].start()
    in_one_ring(*nodes)
    wait_for(lambda: [secrecy_of(node) for node in nodes], ([wanted] * 3).__eq__, "it stays on", START_SECONDS)
    for node in nodes:
        assert not any("invalid digest" in line for line in node.lines()), node.lines()


def test_with_a_node_that_does_not_have_it_there_is_none_and_status_says_which(
    stack: ExitStack, tmp_path: Path
) -> None:
    nodes = ring(stack, tmp_path, "auto", "no")
    start(*nodes)
    in_one_ring(*nodes)
    told = wait_for(lambda: secrecy_of(nodes[0]), lambda told: told.get("nodes_without") == [2], "2", START_SECONDS)
    assert not told["on"]
    assert told["why"].startswith("nodes without it: 2 ")
    wait_for(lambda: secrecy_of(nodes[1]).get("why"), "totem.forward_secrecy is no".__eq__, "why", START_SECONDS)


def test_who_requires_it_and_who_does_not_have_it_refuse_each_other_and_say_why(
    stack: ExitStack, tmp_path: Path
) -> None:
    nodes = ring(stack, tmp_path, "yes", "auto", "no")
    start(*nodes)
    in_one_ring(*nodes[:2])
    assert eventually(lambda: all(secrecy_of(node).get("on") for node in nodes[:2]))
    assert eventually(lambda: secrecy_of(nodes[0]).get("nodes_refused") == [3]), nodes[0].lines()
    assert eventually(lambda: 1 in secrecy_of(nodes[2]).get("nodes_refused", [])), nodes[2].lines()
    assert any("No ring is formed with node 3: it has no forward secrecy" in line for line in nodes[0].lines())
    assert any("No ring is formed with node 1: it asks for forward secrecy" in line for line in nodes[2].lines())


@pytest.mark.parametrize(
    ("transport", "why"),
    [("knet", "transport: knet has no forward secrecy; if all nodes run Rondo, transport: udpu has it")],
)
def test_on_a_wire_that_has_none_it_is_off_and_status_says_so(
    stack: ExitStack, tmp_path: Path, transport: str, why: str
) -> None:
    (node,) = ring(stack, tmp_path, "", transport=transport)
    node.start()
    in_one_ring(node)
    told = wait_for(lambda: secrecy_of(node), bool, "an answer", START_SECONDS)
    assert told | {"mode": ""} == {
        "mode": "", "on": False, "why": why, "nodes_without": [], "nodes_refused": [],
    }  # fmt: skip
