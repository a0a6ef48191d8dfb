"""Rings over IPv6, by multicast and unicast: three Rondo nodes, and one Rondo node with two C Corosync nodes."""

import sys
from collections.abc import Mapping
from functools import partial

import pytest

from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.netns import INTERFACE, Host, Lab
from rondo.testing.lab.ring_config import PATIENT, TOKEN_TIMEOUT_MS, RingConfig, Transport, options, section
from rondo.testing.lab.ring_nodes import Cluster
from rondo.testing.lab.rondo_node import REPOSITORY, RondoNode
from tests.interop import scenarios

pytestmark = pytest.mark.namespaces

RONDO_IN_MIXED_RING = 3
each_transport = pytest.mark.parametrize("transport", ["udp", "udpu"])
mixed = partial(pytest.param, "mixed", marks=pytest.mark.corosync)
rondo = partial(pytest.param, "rondo")


def cluster_of(lab: Lab, kind: str, config: RingConfig) -> Cluster:
    rondo_hosts = {RONDO_IN_MIXED_RING} if kind == "mixed" else set(lab.hosts)
    return Cluster(
        RondoNode(host, config) if number in rondo_hosts else CorosyncNode(host, config)
        for number, host in lab.hosts.items()
    )


@each_transport
@pytest.mark.parametrize("kind", [mixed(), rondo()])
def test_a_ring_over_ipv6(lab: Lab, kind: str, transport: Transport) -> None:
    """It forms, misses a killed node, and takes it back."""
    cluster = cluster_of(lab, kind, RingConfig.of_lab(lab, transport, ipv6=True))
    cluster.start()
    scenarios.kill_and_restart(cluster, victim=2)
    assert cluster.suspicious() == {}


@each_transport
def test_a_ring_over_link_local_addresses(lab: Lab, transport: Transport) -> None:
    """With the interface behind each address, and sealed."""
    for number, host in lab.hosts.items():
        host.ip(f"addr add fe80::{number}/64 dev {INTERFACE} nodad")
    addresses: Mapping[int, str] = {number: f"fe80::{number}%{INTERFACE}" for number in lab.hosts}
    key = "0123456789abcdef" * 16
    totem = {"ip_version": "ipv6", "secauth": "on", "key": key, **PATIENT}
    cluster = cluster_of(lab, "rondo", RingConfig(transport, addresses, totem=totem))
    cluster.start()
    scenarios.leave_and_return(cluster, leaver=2)
    assert cluster.suspicious() == {}


class WithoutNodelist(RondoNode):
    """A node that is told its network, its group and its identifier, and finds the others by multicast."""

    def __init__(self, host: Host, group: str) -> None:
        super().__init__(host, RingConfig("udp", {}))
        interface = section("interface", options({"bindnetaddr": host.address6, "mcastaddr": group}))
        totem: dict[str, str | int] = {
            "version": 2, "cluster_name": "lab", "transport": "udp", "secauth": "off", "nodeid": host.number,
            "token": TOKEN_TIMEOUT_MS,
        }  # fmt: skip
        logging = section("logging", options({"to_syslog": "no", "to_stderr": "yes"}))
        self.config_path.write_text(section("totem", options(totem) + interface) + logging)


@pytest.mark.parametrize("group", ["ff15::77", "ff12::77"], ids=["site", "link"])
def test_multicast_goes_out_where_the_own_address_is(lab: Lab, group: str) -> None:
    """Another interface would be the kernel's choice; for groups of link scope it would not even choose."""
    for host in lab.hosts.values():
        host.ip("link add other type veth peer name behind", "link set other up", "link set behind up")
        host.ip("route add multicast ff00::/8 dev other table local metric 1")
    cluster = Cluster(WithoutNodelist(host, group) for host in lab.hosts.values())
    cluster.start()
    assert cluster.suspicious() == {}


def test_without_an_identifier_the_error_says_what_to_write(lab: Lab) -> None:
    node = WithoutNodelist(lab.host(1), "ff15::77")
    node.config_path.write_text(node.config_path.read_text().replace("nodeid", "#nodeid"))
    argv = [sys.executable, "-m", "services.totem", "-c", str(node.config_path), "--run-dir", "/run/r"]
    done = lab.host(1).run(argv, check=False, environment={"PYTHONPATH": str(REPOSITORY)})
    assert done.returncode == 8
    assert "IPv6 needs a nodeid; write totem.nodeid" in done.stderr
