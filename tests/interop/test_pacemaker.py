"""Debian's Pacemaker on Rondo nodes, as on Corosync: who is DC, who has quorum, and where a resource runs.

Skipped where Pacemaker is not installed (with CI=true it fails), and for a user without rights: its daemons run as a
user of their own.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rondo.testing.lab.netns import Lab
from rondo.testing.lab.node import Node
from rondo.testing.lab.waiting import wait_for
from tests.interop.c_programs import nodes_of, wait_until_whole
from tests.interop.pacemaker import Pacemaker, Seen

pytestmark = [
    pytest.mark.root,
    pytest.mark.corosync,
    pytest.mark.namespaces,
    pytest.mark.pacemaker,
    pytest.mark.timeout(400),
]

TIMEOUT_S = 90.0
IN_GROUPS = {"attrd\0", "cib\0", "crmd\0", "stonith-ng\0"}


class Cluster:
    """Nodes with quorum, called n1 and so on, and Pacemaker on each."""

    def __init__(self, lab: Lab, nodes: list[Node]) -> None:
        self.lab = lab
        self.nodes = {f"n{node.number}": node for node in nodes}
        self.pacemakers = {f"n{node.number}": Pacemaker(node.host) for node in nodes}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.nodes)

    def wait(self, name: str, wanted: Callable[[Seen], bool], what: str) -> Seen:
        """Wait until node NAME sees what is wanted."""
        return wait_for(self.pacemakers[name].see, wanted, f"{name}: {what}", TIMEOUT_S)

    def wait_well(self, name: str, *members: str) -> Seen:
        """Wait until node NAME sees that a DC is elected, these nodes and no others are online with quorum, and the
        resource runs on one of them, and on that one alone by their own account."""

        def holds(seen: Seen) -> bool:
            started = tuple(("dummy", each) for each in members if self.pacemakers[each].dummy_is_started())
            is_whole = seen.dc in members and seen.has_quorum and seen.online == members and not seen.standby
            return is_whole and len(started) == 1 and seen.running == started

        return self.wait(name, holds, f"all is well with {members}")

    def power_off(self, name: str) -> None:
        """Take a node from the others at once, with all that runs there."""
        number = self.nodes[name].number
        self.lab.unplug(number)
        self.nodes[name].kill()
        self.pacemakers[name].kill()
        self.lab.plug(number)

    def launch(self, name: str) -> None:
        """Start the executive of a node and wait until all are in one ring."""
        self.nodes[name].launch()
        self.nodes[name].wait_until_started()
        wait_until_whole(list(self.nodes.values()))

    def stop_pacemaker(self, name: str) -> None:
        """It leaves in order: nothing of it runs on, and the executive goes on without it."""
        pacemaker = self.pacemakers[name]
        assert pacemaker.stop() == 0
        assert pacemaker.pids() == {}
        assert not pacemaker.dummy_is_started()


@pytest.fixture
def make(make_lab: Callable[[int], Lab], tmp_path: Path) -> Iterator[Callable[[int], Cluster]]:
    """A function that makes so many nodes, with a resource once Pacemaker has formed its cluster."""
    with ExitStack() as stack:

        def made(count: int) -> Cluster:
            lab = make_lab(count)
            votes = {"provider": "corosync_votequorum"}
            nodes = stack.enter_context(nodes_of(lab, tmp_path, named=True, quorum=votes))
            cluster = Cluster(lab, nodes)
            for pacemaker in cluster.pacemakers.values():
                stack.callback(lambda pacemaker=pacemaker: print(pacemaker.log()[-20_000:]))  # type: ignore[misc]
                pacemaker.start()
            cluster.wait("n1", lambda seen: seen.dc is not None and seen.online == cluster.names, "all online")
            cluster.pacemakers["n1"].add_dummy()
            cluster.wait_well("n1", *cluster.names)
            return cluster

        yield made


def _groups(node: Node) -> set[str]:
    return {each["group"] for each in node.status("cpg")["groups"]}


def _kill_service(node: Node, service: str) -> None:
    """Kill a service and wait until the node has another and is whole."""
    killed = node.pids(service)
    node.send(signal.SIGKILL, service)
    wait_for(lambda: node.pids(service), lambda pids: pids not in ([], killed), f"another {service}", TIMEOUT_S)
    wait_until_whole([node])


@pytest.mark.slow
def test_one_node(make: Callable[[int], Cluster]) -> None:
    cluster = make(1)
    node, pacemaker = cluster.nodes["n1"], cluster.pacemakers["n1"]
    assert _groups(node) == IN_GROUPS
    named = node.host.run(["crm_attribute", "--name=cluster-name", "--query", "--quiet"]).stdout
    assert named == "lab\n", "what the node's configuration calls the cluster"

    # It has a say, and does not want its node to be taken away.
    refused = node.host.run(["corosync-cfgtool", "-H"], check=False)
    assert "Could not shutdown (error = 10)" in refused.stderr

    # It does not notice that a service is killed.
    before = pacemaker.pids()
    for service in ("cpg", "control"):
        _kill_service(node, service)
    pacemaker.standby("n1", True)
    cluster.wait(
        "n1",
        lambda seen: seen.standby == ("n1",) and not seen.running and not pacemaker.dummy_is_started(),
        "the resource is stopped",
    )
    pacemaker.standby("n1", False)
    cluster.wait_well("n1", "n1")
    assert pacemaker.pids() == before

    cluster.stop_pacemaker("n1")
    wait_for(lambda: _groups(node), lambda groups: not groups, "nobody is in a group", TIMEOUT_S)
    assert node.suspicious() == []


@pytest.mark.slow
def test_three_nodes(make: Callable[[int], Cluster]) -> None:
    cluster = make(3)
    names = cluster.names
    ((_, first),) = cluster.wait_well("n1", *names).running
    others = tuple(name for name in names if name != first)
    watcher = others[0]

    # A node is put on standby: what it runs moves.
    cluster.pacemakers[watcher].standby(first, True)
    seen = cluster.wait(watcher, lambda seen: bool(seen.running) and seen.running[0][1] in others, "it has moved")
    assert seen.standby == (first,)
    cluster.pacemakers[watcher].standby(first, False)
    ((_, second),) = cluster.wait_well(watcher, *names).running

    # A node is lost: what it ran moves. It comes back.
    others = tuple(name for name in names if name != second)
    watcher = others[0]
    cluster.power_off(second)
    cluster.wait_well(watcher, *others)
    cluster.launch(second)
    cluster.pacemakers[second].start()
    cluster.wait_well(second, *names)

    # The executive is killed under a Pacemaker that goes on, on the node of the DC, and starts again.
    dc = cluster.wait_well(watcher, *names).dc
    assert dc is not None
    others = tuple(name for name in names if name != dc)
    living = cluster.pacemakers[dc].pid
    cluster.nodes[dc].kill()
    cluster.wait(others[0], lambda seen: seen.dc in others and seen.online == others, "the others have a DC")
    cluster.launch(dc)
    cluster.wait_well(others[0], *names)
    cluster.wait_well(dc, *names)
    assert cluster.pacemakers[dc].pids()[living] == "pacemakerd"

    for name in names:
        cluster.stop_pacemaker(name)
    for node in cluster.nodes.values():
        assert node.view() is not None
        assert node.suspicious() == []
