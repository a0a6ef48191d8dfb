"""Debian's Pacemaker on Rondo nodes, as on Corosync: who is DC, who has quorum, and where a resource runs.

Skipped where Pacemaker is not installed (with CI=true it fails), and for a user without rights: its daemons run as a
user of their own.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rondo.testing.lab.netns import Lab
from rondo.testing.lab.node import Node
from rondo.testing.lab.waiting import wait_for
from tests.interop.executives import RondoExecutive
from tests.interop.pacemaker_cluster import PREFERRED, TIMEOUT_S, Cluster, cluster_of

pytestmark = [
    pytest.mark.root,
    pytest.mark.corosync,
    pytest.mark.namespaces,
    pytest.mark.pacemaker,
    pytest.mark.timeout(400),
]

IN_GROUPS = {"attrd\0", "cib\0", "crmd\0", "stonith-ng\0"}


def _groups(node: Node) -> set[str]:
    return {each["group"] for each in node.told("cpg")["groups"]}


def _kill_service(cluster: Cluster, node: Node, service: str) -> None:
    """Kill a service and wait until the node has another and is whole."""
    killed = node.pids(service)
    node.send(signal.SIGKILL, service)
    wait_for(lambda: node.pids(service), lambda pids: pids not in ([], killed), f"another {service}", TIMEOUT_S)
    cluster.wait_whole()


@pytest.mark.slow
def test_one_node(make_lab: Callable[[int], Lab], tmp_path: Path) -> None:
    with cluster_of(make_lab(1), tmp_path, ["rondo"]) as cluster:
        executive, pacemaker = cluster.executives["n1"], cluster.pacemakers["n1"]
        assert isinstance(executive, RondoExecutive)
        node = executive.node
        wait_for(lambda: _groups(node), lambda groups: groups == IN_GROUPS, "all are in their groups", TIMEOUT_S)
        named = node.host.run(["crm_attribute", "--name=cluster-name", "--query", "--quiet"]).stdout
        assert named == "lab\n", "what the node's configuration calls the cluster"

        # It has a say, and does not want its node to be taken away.
        refused = node.host.run(["corosync-cfgtool", "-H"], check=False)
        assert "Could not shutdown (error = 10)" in refused.stderr

        # It does not notice that a service is killed.
        before = pacemaker.daemons()
        for service in ("cpg", "control"):
            _kill_service(cluster, node, service)
        pacemaker.standby("n1", True)
        cluster.wait(
            "n1",
            lambda seen: seen.standby == ("n1",) and not seen.running and not pacemaker.dummy_is_started(),
            "the resource is stopped",
        )
        pacemaker.standby("n1", False)
        cluster.wait_well("n1", "n1")
        assert pacemaker.daemons() == before

        cluster.stop_pacemaker("n1")
        wait_for(lambda: _groups(node), lambda groups: not groups, "nobody is in a group", TIMEOUT_S)
        assert node.suspicious() == []


KINDS = [["rondo"] * 3, ["rondo"] * 2, ["rondo", "c", "c"]]
if os.environ.get("RONDO_PACEMAKER") == "all":
    KINDS += [["c"] * 3, ["c"] * 2]
"""Those of C alone are what the others are to be like; `make pacemaker` has them too."""


@pytest.mark.slow
@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
def test_the_life_of_a_cluster(make_lab: Callable[[int], Lab], tmp_path: Path, kinds: list[str]) -> None:
    with cluster_of(make_lab(len(kinds)), tmp_path, kinds) as cluster:
        _standby_and_back(cluster)
        _lose_and_regain(cluster, "-".join(kinds))
        for _ in range(2 if "rondo" not in kinds else 0):
            cluster.change_executive(PREFERRED)  # to Rondo, and back
        dc = cluster.wait_well(PREFERRED, *cluster.names).dc
        assert dc is not None
        for name in dict.fromkeys((dc, PREFERRED)):
            _restart_executive(cluster, name)
        for name in cluster.names:
            cluster.stop_pacemaker(name)
        cluster.wait_whole()
        for executive in cluster.executives.values():
            assert executive.suspicious() == []


def _standby_and_back(cluster: Cluster) -> None:
    """A node is put on standby: what it runs moves."""
    others = cluster.others(PREFERRED)
    watcher = others[0]
    cluster.pacemakers[watcher].standby(PREFERRED, True)
    seen = cluster.wait(watcher, lambda seen: bool(seen.running) and seen.running[0][1] in others, "it has moved")
    assert seen.standby == (PREFERRED,)
    cluster.pacemakers[watcher].standby(PREFERRED, False)
    cluster.wait_well(watcher, *cluster.names)


def _lose_and_regain(cluster: Cluster, what: str) -> None:
    """A node is lost: what it ran moves. It comes back."""
    others = cluster.others(PREFERRED)
    began_s = time.monotonic()
    cluster.power_off(PREFERRED)
    cluster.wait_well(others[0], *others)
    print(f"{what}: the resource of a killed node runs elsewhere after {time.monotonic() - began_s:.1f} s")
    cluster.launch(PREFERRED)
    began_s = time.monotonic()
    cluster.pacemakers[PREFERRED].start()
    cluster.wait_well(PREFERRED, *cluster.names)
    print(f"{what}: all is well again {time.monotonic() - began_s:.1f} s after its start")


def _restart_executive(cluster: Cluster, name: str) -> None:
    """The executive is killed under a Pacemaker that goes on, and starts again."""
    others = cluster.others(name)
    living = cluster.pacemakers[name].pid
    cluster.executives[name].kill()
    cluster.wait(others[0], lambda seen: seen.dc in others and seen.online == others, "the others have a DC")
    cluster.launch(name)
    for each in (others[0], name):
        cluster.wait_well(each, *cluster.names)
    assert cluster.pacemakers[name].pids()[living] == "pacemakerd"
