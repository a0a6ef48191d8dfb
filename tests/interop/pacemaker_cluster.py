"""Clusters for Debian's Pacemaker: Rondo nodes, nodes of C Corosync, or both in one ring, and what is done to them."""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.netns import Lab
from rondo.testing.lab.node import Node
from rondo.testing.lab.ring_config import AnyConfig, KnetConfig, RingConfig
from rondo.testing.lab.waiting import wait_for
from tests.interop.c_programs import nodes_from
from tests.interop.executives import CorosyncExecutive, Executive, RondoExecutive, wait_until_one_ring
from tests.interop.pacemaker import Pacemaker, Seen

TIMEOUT_S = 90.0
PREFERRED = "n1"
"""Where the resource runs if it can. The Rondo node of a mixed cluster."""


class Cluster:
    """Nodes with quorum, called n1 and so on, and Pacemaker on each."""

    def __init__(self, lab: Lab, executives: Sequence[Executive], instead: Mapping[str, Executive]) -> None:
        """`instead`: by name of a node, another executive that may take its place there."""
        self.lab = lab
        self.instead = dict(instead)
        self.executives = {each.host.name: each for each in executives}
        self.pacemakers = {each.host.name: Pacemaker(each.host) for each in executives}

    @property
    def names(self) -> tuple[str, ...]:
        """Of all nodes."""
        return tuple(self.executives)

    def others(self, name: str) -> tuple[str, ...]:
        """All nodes but one."""
        return tuple(each for each in self.names if each != name)

    def wait_whole(self) -> None:
        """Wait until all are in one ring, where C programs are served."""
        wait_until_one_ring(list(self.executives.values()))

    def form(self) -> None:
        """Start Pacemaker on all nodes, and add a resource once they are in one cluster."""
        for pacemaker in self.pacemakers.values():
            pacemaker.start()
        self.wait(PREFERRED, lambda seen: seen.dc is not None and seen.online == self.names, "all online")
        self.pacemakers[PREFERRED].add_dummy(PREFERRED)
        self.wait_well(PREFERRED, *self.names)

    def wait(self, name: str, wanted: Callable[[Seen], bool], what: str) -> Seen:
        """Wait until node NAME sees what is wanted."""
        return wait_for(self.pacemakers[name].see, wanted, f"{name}: {what}", TIMEOUT_S)

    def wait_well(self, name: str, *members: str) -> Seen:
        """Wait until node NAME sees that a DC is elected, these nodes and no others are online with quorum, and the
        resource runs on one of them, the preferred one if that is there, and on that one alone by their own account."""

        def holds(seen: Seen) -> bool:
            started = tuple(("dummy", each) for each in members if self.pacemakers[each].dummy_is_started())
            is_whole = seen.dc in members and seen.has_quorum and seen.online == members and not seen.standby
            is_there = PREFERRED not in members or started == (("dummy", PREFERRED),)
            return is_whole and is_there and len(started) == 1 and seen.running == started

        return self.wait(name, holds, f"all is well with {members}")

    def power_off(self, name: str) -> None:
        """Take a node from the others at once, with all that runs there."""
        number = self.executives[name].host.number
        for link in self.lab.links:
            self.lab.unplug(number, link)
        self.executives[name].kill()
        self.pacemakers[name].kill()
        for link in self.lab.links:
            self.lab.plug(number, link)

    def launch(self, name: str) -> None:
        """Start the executive of a node and wait until all are in one ring."""
        self.executives[name].launch()
        self.wait_whole()

    def change_executive(self, name: str) -> None:
        """Put the other executive in the place of a node's present one, both ended and started in order."""
        self.stop_pacemaker(name)
        others = self.others(name)
        self.wait_well(others[0], *others)
        before = self.executives[name]
        before.stop()
        self.executives[name], self.instead[name] = self.instead[name], before
        self.launch(name)
        self.pacemakers[name].start()
        for each in (name, others[0]):
            self.wait_well(each, *self.names)

    def stop_pacemaker(self, name: str) -> None:
        """It leaves in order: nothing of it runs on, and the executive goes on without it."""
        pacemaker = self.pacemakers[name]
        assert pacemaker.stop() == 0
        assert pacemaker.pids() == {}
        assert not pacemaker.dummy_is_started()


@contextmanager
def cluster_of(lab: Lab, directory: Path, kinds: Sequence[str]) -> Iterator[Cluster]:
    """A cluster with a resource: of each node its kind, "rondo" or "c". By udpu, or by knet if the kinds are mixed."""
    with ExitStack() as stack:
        config: AnyConfig
        if len(set(kinds)) > 1:
            config = KnetConfig.of_lab(lab, directory, quorum={})
        else:
            votes = {"two_node": 1} if len(kinds) == 2 else {}
            config = RingConfig.of_lab(lab, "udpu", named=True, quorum=votes)
        hosts = dict(zip(lab.hosts.values(), kinds, strict=True))
        ours = [host for host, kind in hosts.items() if kind == "rondo"]
        nodes = stack.enter_context(nodes_from(ours, config, directory)) if ours else []
        theirs = [CorosyncNode(host, config) for host, kind in hosts.items() if kind == "c"]
        for node in theirs:
            node.start()
            stack.callback(node.process.kill)
        path = directory / "instead.conf"
        path.write_text(config.text())
        others = [Node(node.host, path, f"instead-{os.getpid()}-{secrets.token_hex(4)}") for node in theirs]
        for other in others:
            stack.callback(other.kill)
        instead = {each.host.name: RondoExecutive(each) for each in others}
        cluster = Cluster(lab, [*map(RondoExecutive, nodes), *map(CorosyncExecutive, theirs)], instead)
        cluster.wait_whole()
        for pacemaker in cluster.pacemakers.values():
            stack.callback(lambda pacemaker=pacemaker: print(pacemaker.log()[-20_000:]))  # type: ignore[misc]
        cluster.form()
        yield cluster
