"""Checks that other nodes can be reached, also by packets of full size, which a ring needs more than other programs."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Iterator

from rondo.doctor import ping
from rondo.doctor.finding import Finding, fault, ok, warn
from rondo.doctor.subject import Ip, Subject

NODES_MAX = 32
ICMP_BYTES = 8
"""An echo header is as long as UDP's, so a payload of n bytes makes a packet as long as a datagram of n."""
_SIOCGIFMTU = 0x8921
_STEP_BYTES = 16


def mtu(subject: Subject) -> Iterator[Finding]:
    """Check that packets of the configured size pass the interface and arrive."""
    found = False
    config = subject.config
    if config is None or not subject.own:
        return
    for finding in (*_interface(subject), *_told(subject), *_probed(subject)):
        found = True
        yield finding
    if not found:
        yield ok("mtu", "packets of full size pass, as far as other nodes answer")


def _ip_headers(ip: Ip) -> int:
    return 48 if ip.version == 6 else 28


def _interface(subject: Subject) -> Iterator[Finding]:
    """Compare netmtu with the MTU of the interface. knet finds the size by itself."""
    assert subject.config is not None
    config = subject.config
    if config.transport == "knet" or config.large_packets:
        return  # nothing is configured: packets fit the interface
    for text in subject.own.values():
        ip = subject.ip_of(text)
        name = next((each.name for each in subject.machine.interface_addresses() if each.address == ip), "")
        takes = interface_mtu(name) if name else 0
        if takes and config.netmtu > takes:
            what = (
                f"totem.netmtu is {config.netmtu}, and the interface {name} takes {takes}: packets leave in fragments"
            )
            mend = f"write netmtu: {takes} on all nodes, or raise the MTU of all interfaces and switches"
            yield warn("mtu", what, f"interface {name}", mend)


def interface_mtu(name: str) -> int:
    """The MTU of an interface; 0 if it does not exist."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe.fileno(), _SIOCGIFMTU, struct.pack("16si12x", name.encode()[:15], 0))
        except OSError:
            return 0
    return int(struct.unpack_from("i", answer, 16)[0])


def _told(subject: Subject) -> Iterator[Finding]:
    """Report what the running ring has measured."""
    for node, path in ((subject.totem or {}).get("paths") or {}).items():
        if path["path"] == "loses_large":
            what = f"the way to node {node} loses packets of more than {path['passes']} bytes"
            mend = f"mend it (often a firewall that drops fragments), or write netmtu: {path['passes']} on all nodes"
            yield fault("mtu", what, f"node {node}", mend)
        elif path["path"] == "no_multicast":
            mend = "let the switches pass multicast (IGMP querier), or write transport: udpu on all nodes"
            yield fault("multicast", f"multicast does not arrive at node {node}", f"node {node}", mend)


def _probed(subject: Subject) -> Iterator[Finding]:
    """Send echoes of full size to the nodes that answer empty ones."""
    assert subject.config is not None
    if subject.config.transport == "knet":
        return
    nodes = _addresses(subject)
    there = [ip for ip in ping.answering(list(nodes)) if not ip.is_loopback]
    if not there:
        return
    size = subject.config.netmtu - _ip_headers(there[0])
    silent = set(there) - ping.answering(there, size)
    for ip in sorted(silent, key=str):
        passes = _largest(ip, size) + _ip_headers(ip)
        what = f"packets of {size + _ip_headers(ip)} bytes do not come back from node {nodes[ip]}, those of {passes} do"
        mend = f"mend the way (MTU of switches and tunnels, firewalls), or write netmtu: {passes} on all nodes"
        yield fault("mtu", what, f"node {nodes[ip]}, {ip}", mend)


def _largest(ip: Ip, too_much: int) -> int:
    """The largest payload that comes back, in bytes, to within `_STEP_BYTES`. Found by bisection."""
    passes = 0
    while too_much - passes > _STEP_BYTES:
        middle = (passes + too_much) // 2
        if ping.answering([ip], middle):
            passes = middle
        else:
            too_much = middle
    return passes


def _addresses(subject: Subject) -> dict[Ip, int]:
    return {
        ip: node
        for node, links in list(subject.others.items())[:NODES_MAX]
        for text in links.values()
        if (ip := subject.ip_of(text)) is not None
    }


def peers(subject: Subject) -> Iterator[Finding]:
    """Ping the machines of nodes that are not in the ring, and say what follows from the answer."""
    totem = subject.totem
    if subject.config is None or not subject.own:
        return
    nodes = _addresses(subject)
    members = set((totem or {}).get("members", ()))
    away = {ip: node for ip, node in nodes.items() if node not in members}
    there = ping.answering(list(away))
    deaf = set((totem or {}).get("deaf", ()))
    for ip, node in away.items():
        where = f"node {node}, {ip}"
        if not ping.may_ask(ip):
            yield ok(
                "reach", f"whether the machine of node {node} answers was not asked: that takes more rights", where
            )
        elif ip not in there:
            mend = f"ping {ip} from here; is the machine on, and its cable in?"
            yield warn("reach", f"the machine of node {node} does not answer a ping", where, mend)
        elif totem is None:
            yield ok("reach", f"the machine of node {node} answers", where)
        elif node in deaf:
            mend = "rondo start there; compare totem.interface.mcastport"
            yield warn("reach", f"the machine of node {node} answers, but nobody listens on its port", where, mend)
        else:
            what = (
                f"the machine of node {node} answers a ping, and its ring does not: a firewall may drop UDP, either way"
            )
            mend = f"rondo doctor there; let UDP {subject.config.mcastport} pass in and out on both machines"
            yield fault("firewall", what, where, mend)
    if not away:
        yield ok("reach", "all nodes are in the ring" if totem else "there are no other nodes")
