"""Nothing that a protected node sends needs fragments of IP, unless somebody wants that; then the log says so.

What leaves is looked at where it arrives: node 2 is a plain socket here.
"""

from __future__ import annotations

import logging
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from services.totem.keyring_file import Keys
from services.totem.protection import Protection
from services.totem.ring.events import EVERYBODY
from services.totem.transport import link as link_module
from services.totem.transport.address_book import LinkSettings
from services.totem.transport.base import TransportSettings
from services.totem.transport.interfaces import LocalAddress, interface_of
from services.totem.transport.link import Link
from services.totem.transport.pathcheck import Question
from services.totem.transport.sockets import family_of
from tests.ports import reserve_port
from tests.unit.security.nodes import KEY, Node
from tests.unit.totem.test_transport import mcast, token

IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, OMIT = 10, 23, 5
UDP_GRO = 104


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class Sender:
    """Node 1, protected, and what arrives at node 2."""

    def __init__(
        self, stack: ExitStack, *, ipv6: bool = False, multicast: bool = False, netmtu: int = 1500, given: bool = False
    ) -> None:
        port = reserve_port(stack)
        own, other = ("::1", "::1") if ipv6 else ("127.0.0.1", "127.0.0.2")
        group = "" if not multicast else "ff15::7:7" if ipv6 else "239.192.7.7"
        self.receiver = stack.enter_context(socket.socket(family_of(own), socket.SOCK_DGRAM))
        self.receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.receiver.settimeout(10)
        if group:
            self.receiver.bind((group, port))
            membership = socket.inet_aton(group) + socket.inet_aton(own)
            self.receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        elif not ipv6:
            self.receiver.bind((other, port))
        settings = LinkSettings(
            TransportSettings(1, port, group=group),
            multicast=multicast,
            members={1: (own,), 2: (other,)},
            local_address=own,
            netmtu=netmtu,
            netmtu_given=given,
            ip_headers=48 if ipv6 else 28,
        )
        self.link = Link(settings, Counter(), Protection(Node(1).security, Keys((KEY,), KEY)))
        stack.callback(self.link.close)
        self.link.start()
        self.link.tend((), 0)
        assert self.link.transport is not None
        if ipv6:
            # There is one address, ::1, and so what is for node 2 comes to node 1's own socket. Datagram by datagram:
            self.receiver = self.link.transport.sockets[0]
            self.receiver.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 0)
            self.receiver.settimeout(10)

    def sizes(self) -> list[int]:
        """Of all datagrams that came, until the one that ends them."""
        found: list[int] = []
        while True:
            size = len(self.receiver.recv(65_536))
            if size == 1:
                return found
            found.append(size)

    def end(self) -> None:
        with socket.socket(self.receiver.family, socket.SOCK_DGRAM) as out:
            if self.link.settings.multicast:
                out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            out.sendto(b".", self.receiver.getsockname())


@pytest.mark.parametrize(
    ("ipv6", "multicast", "payload_max"),
    [(False, False, 1472), (True, False, 1452), (False, True, 1472)],
    ids=["udpu", "udpu over IPv6", "udp"],
)
def test_no_packet_needs_fragments_of_ip(stack: ExitStack, ipv6: bool, multicast: bool, payload_max: int) -> None:
    sender = Sender(stack, ipv6=ipv6, multicast=multicast)
    largest = 0
    for size in (*range(1280, 1500), 2900, 8600, 40_000, 60_090):
        sender.link.send([(EVERYBODY, mcast(1, 1, size))], packet_bytes_max=8400, parity=True)
        if not multicast:
            sender.link.send([(2, token(7) + bytes(size)), (2, mcast(1, 1, size))])
        sender.end()
        largest = max(largest, *sender.sizes())
    assert payload_max - 8 < largest <= payload_max
    assert sender.link.counters == {}


def test_probes_of_full_size_need_none_either(stack: ExitStack) -> None:
    sender = Sender(stack)
    neighbours, transport = sender.link.neighbours, sender.link.transport
    assert transport is not None
    neighbours.paths.questions.append(Question(2, 1, neighbours.paths.size_max))
    neighbours.advance(transport, neighbours.due_ns)
    sender.end()
    assert max(sender.sizes()) == 1472


@pytest.mark.parametrize("ipv6", [False, True])
def test_icmp_does_not_make_packets_smaller(stack: ExitStack, ipv6: bool) -> None:
    """Anybody can send `fragmentation needed`, and then the kernel would make fragments of what fits the MTU."""
    transport = Sender(stack, ipv6=ipv6).link.transport
    assert transport is not None
    level, option = (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER) if ipv6 else (socket.IPPROTO_IP, IP_MTU_DISCOVER)
    assert [each.getsockopt(level, option) for each in transport.sockets] == [OMIT] * 2


def small_interface(address: str) -> LocalAddress | None:
    found = interface_of(address)
    assert found is not None
    assert found.mtu > 1500
    return LocalAddress(found.address, found.interface, found.network, found.up, 1400)


def test_an_interface_with_a_small_mtu_is_told_unless_somebody_wants_more(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(link_module, "interface_of", small_interface)
    for given, largest in ((False, 1372), (True, 1472)):
        caplog.clear()
        sender = Sender(stack, given=given)
        for size in (1280, 1390, 60_090):
            sender.link.send([(EVERYBODY, mcast(1, 1, size))])
        sender.end()
        assert largest - 8 < max(sender.sizes()) <= largest
        said = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
        assert len(said) == given
        if given:
            assert "the interface lo takes 1400" in said[0]
            assert "Set totem.netmtu: 1400" in said[0]
