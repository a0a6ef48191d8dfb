"""Rings over knet with two links: which nodes are C Corosync's, and what each of them says of its links."""

from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path

from rondo.testing.lab.complete_node import CompleteNode
from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.netns import Lab
from rondo.testing.lab.ring_config import KnetConfig
from rondo.testing.lab.ring_nodes import Cluster
from rondo.testing.lab.rondo_node import RondoNode
from rondo.testing.lab.waiting import wait_for
from tests.interop.cpg_member import CpgMember
from tests.interop.rondo_member import RondoMember

NO_LINKS = r"\[KNET *\] host: host: \d+ has no active links"
"""A C node logs this at its start, and when another node has gone."""
LINKS_TIMEOUT_S = 60.0
"""C nodes that could not find out in time what a link carries try it again after 30 seconds."""


class KnetRing:
    """A cluster whose nodes `c` are C Corosync's and whose others are Rondo's, `complete` ones if groups are wanted."""

    def __init__(
        self, lab: Lab, directory: Path, c: Collection[int], *, complete: bool = False, ipv6: bool = False,
        totem: Mapping[str, str | int] | None = None,
    ) -> None:  # fmt: skip
        self.lab = lab
        self.c = frozenset(c)
        self.ipv6 = ipv6
        self.config = config = KnetConfig.of_lab(lab, directory, ipv6=ipv6, totem=totem or {})
        rondo = CompleteNode if complete else RondoNode
        self.cluster = Cluster(
            CorosyncNode(host, config) if number in self.c else rondo(host, config)
            for number, host in lab.hosts.items()
        )
        self.cluster.start()

    def members(self, group: str) -> list[CpgMember]:
        """An application on each node, all in one group that all of them see."""
        members = [
            (CpgMember if number in self.c else RondoMember)(host, group) for number, host in self.lab.hosts.items()
        ]
        for member in members:
            member.wait_members(*members)
        return members

    def wait_links_up(self) -> None:
        """Return when every node says that every link to every other one is up."""
        wait_for(self.links_up, bool, "all links up", LINKS_TIMEOUT_S)

    def wait_link_down(self, unplugged: int, link: int) -> None:
        """Return when every other node says that its link to this one is down."""
        wait_for(partial(self.link_down, unplugged, link), bool, "everybody to see it", LINKS_TIMEOUT_S)

    def links_up(self) -> bool:
        """Whether every node says that every link to every other one is up."""
        others = len(self.cluster.nodes) - 1
        for number in self.cluster.nodes:
            if number in self.c:
                if self.links_of_c(number).count("enabled connected") != 2 * others:
                    return False
            elif not all(link["up"] for links in self.links_of_rondo(number).values() for link in links):
                return False
        return True

    def link_down(self, unplugged: int, link: int) -> bool:
        """Whether every other node says that its link to this one is down."""
        address = self.lab.host(unplugged).address_of_link(link, ipv6=self.ipv6)
        for number in self.cluster.nodes:
            if number == unplugged:
                continue
            if number in self.c:
                if f"->{address}) enabled mtu" not in self.links_of_c(number):
                    return False
            elif self.links_of_rondo(number)[str(unplugged)][link]["up"]:
                return False
        return True

    def links_of_c(self, number: int) -> str:
        """What `corosync-cfgtool -n` says there."""
        return self.lab.host(number).run(["corosync-cfgtool", "-n"]).stdout

    def links_of_rondo(self, number: int) -> dict[str, list[dict[str, object]]]:
        """What totem's status says there, by node."""
        node = self.cluster.nodes[number]
        assert isinstance(node, RondoNode)
        status = wait_for(node.status, lambda found: found is not None, f"an answer of node {number}", LINKS_TIMEOUT_S)
        assert status is not None
        links: dict[str, list[dict[str, object]]] = status["links"]
        return links
