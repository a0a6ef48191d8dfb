"""What makes no sense is refused by name in the call that has it: by `Loopback`, and by the cluster of real nodes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

import rondo
from rondo.testing import Loopback, TestCluster, rondo_cluster

CASES: list[tuple[str, Callable[[Any], object]]] = [
    ("node", lambda it: it.connect(4)),
    ("node", lambda it: it.connect(0)),
    ("node", lambda it: it.connect("1")),
    ("node", lambda it: it.connect(True)),
    ("node", lambda it: it.kill_node(9)),
    ("node", lambda it: it.start_node(9)),
    ("node", lambda it: it.start_node(None)),
    ("sides", lambda it: it.partition({1}, {2, 4})),
    ("sides", lambda it: it.partition({1}, {1, 2})),
    ("sides", lambda it: it.partition(1, 2)),
    ("sides", lambda it: it.partition("12")),
    ("cluster", lambda it: it.kill(1)),
    ("cluster", lambda it: it.disconnect(Loopback(nodes=1).connect())),
    ("cluster", lambda it: it.suspend(None)),
]
NODES_OF_CLUSTER: list[tuple[str, Callable[[Any], object]]] = [
    ("node", lambda it: it[4]),
    ("node", lambda it: it.kill("1")),
    ("node", lambda it: it.pause(0)),
    ("node", lambda it: it.resume(0)),
    ("node", lambda it: it.restart(7)),
    ("nodes", lambda it: it.wait_members(4)),
    ("nodes", lambda it: it.wait_members(True)),
    ("sides", lambda it: it.wait_members({1, 4})),
    ("timeout", lambda it: it.wait_members(3, timeout=float("nan"))),
    ("timeout", lambda it: it.wait_members(3, timeout="1")),
    ("percent", lambda it: it.loss(101)),
    ("percent", lambda it: it.loss(0)),
    ("percent", lambda it: it.loss("10")),
    ("percent", lambda it: it.loss(float("nan"))),
]


def unsupported(why: str) -> NoReturn:
    raise AssertionError(why)


@pytest.mark.parametrize("nodes", [0, -1, 2.0, "3", None, True, 10**6])
def test_numbers_of_nodes_that_make_no_cluster(nodes: Any) -> None:
    with pytest.raises(rondo.InvalidParameter, match="nodes: a whole number from 1 to"):
        Loopback(nodes)
    with pytest.raises(rondo.InvalidParameter, match="nodes: a whole number from 1 to"), rondo_cluster(nodes):
        pass


def test_other_arguments_of_a_cluster() -> None:
    with pytest.raises(rondo.InvalidParameter, match="provider: True or False"):
        Loopback(provider="no")  # type: ignore[arg-type]
    with pytest.raises(rondo.InvalidParameter, match="seed: a whole number"):
        Loopback(seed=[])  # type: ignore[arg-type]
    with pytest.raises(rondo.InvalidParameter, match="network: True or False"), rondo_cluster(1, network=1):  # type: ignore[arg-type]
        pass


@pytest.mark.parametrize(("name", "call"), CASES, ids=range(len(CASES)))
def test_the_loopback_goes_on_after_what_it_refused(name: str, call: Callable[[Any], object]) -> None:
    loopback = Loopback(nodes=3)
    group = loopback.connect(1).cpg.join("g")
    with pytest.raises(rondo.InvalidParameter, match=f"^{name}: "):
        call(loopback)
    group.mcast(b"x").ordered()
    assert loopback.connect(3).quorum.status().quorate


def test_a_process_dies_once() -> None:
    loopback = Loopback(nodes=1)
    cluster = loopback.connect()
    loopback.kill(cluster)
    with pytest.raises(rondo.InvalidParameter, match="cluster: a connection of this Loopback that is open"):
        loopback.kill(cluster)


@pytest.mark.parametrize(("name", "call"), NODES_OF_CLUSTER, ids=range(len(NODES_OF_CLUSTER)))
def test_a_cluster_of_real_nodes(tmp_path: Path, name: str, call: Callable[[Any], object]) -> None:
    """The arguments are checked before anything runs."""
    cluster = TestCluster(3, tmp_path, None, None, "", unsupported)  # type: ignore[arg-type]
    with pytest.raises(rondo.InvalidParameter, match=f"^{name}: "):
        call(cluster)
