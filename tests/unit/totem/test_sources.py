"""Strangers are dropped by the kernel, as addresses come and go; what is only sent from hears nobody."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from services.totem.transport.knet_sockets import KnetSockets
from services.totem.transport.sources import Admission, dropped, program, take_all, take_nothing, take_only
from tests.ports import reserve_port
from tests.unit.totem.test_transport import Nodes, mcast

V4, V6 = socket.AF_INET, socket.AF_INET6


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def bound(stack: ExitStack, address: str) -> socket.socket:
    made = stack.enter_context(socket.socket(V6 if ":" in address else V4, socket.SOCK_DGRAM))
    made.bind((address, 0))
    made.setblocking(False)
    return made


def heard(receiver: socket.socket, senders: dict[str, socket.socket]) -> set[str]:
    """Which of these a receiver hears; what is sent on loopback is there when the call returns."""
    for name, each in senders.items():
        each.sendto(name.encode(), receiver.getsockname())
    found = set()
    while True:
        try:
            found.add(receiver.recv(100).decode())
        except BlockingIOError:
            return found


def test_only_listed_addresses_are_heard(stack: ExitStack) -> None:
    receiver = bound(stack, "127.0.0.1")
    senders = {f"127.0.{third}.{last}": bound(stack, f"127.0.{third}.{last}") for third in (0, 1) for last in (2, 3, 4)}
    assert heard(receiver, senders) == senders.keys()
    for listed in ({"127.0.0.2"}, {"127.0.0.3", "127.0.1.4", "127.0.1.3"}, set()):
        assert take_only(receiver, listed)
        before = dropped(receiver)
        assert heard(receiver, senders) == listed
        assert dropped(receiver) - before == len(senders) - len(listed)
    take_all(receiver)
    take_all(receiver)
    assert heard(receiver, senders) == senders.keys()


def test_addresses_of_ipv6_are_compared_as_a_whole(stack: ExitStack) -> None:
    receiver = bound(stack, "::1")
    sender = {"::1": bound(stack, "::1")}
    near = ["::2", "::1:0:1", "1::1", "0:0:1::1", "fe80::1%lo"]
    assert take_only(receiver, near)
    assert heard(receiver, sender) == set()
    assert take_only(receiver, [*near[:2], "::1", *near[2:]])
    assert heard(receiver, sender) == {"::1"}


@pytest.mark.parametrize("family", [V4, V6])
def test_as_many_addresses_as_a_ring_has_nodes_fit_a_program(stack: ExitStack, family: socket.AddressFamily) -> None:
    addresses = [f"10.0.{n >> 8}.{n & 255}" if family == V4 else f"fd00::{n:x}" for n in range(384)]
    assert len(program(family, addresses)) // 8 <= 4096, "more the kernel does not take"
    receiver = bound(stack, "127.0.0.1" if family == V4 else "::1")
    own = receiver.getsockname()[0]
    admission = Admission(counters := Counter[str]())
    admission.admit([receiver], frozenset([*addresses, own]))
    assert heard(receiver, {"own": bound(stack, own)}) == {"own"}
    assert set(counters) <= {"filter_refused"}, "where net.core.optmem_max is small"


def test_what_only_sends_hears_nobody(stack: ExitStack) -> None:
    out = bound(stack, "127.0.0.1")
    assert take_nothing(out)
    assert heard(out, {"somebody": bound(stack, "127.0.0.2")}) == set()


@pytest.mark.parametrize("multicast", [False, True], ids=["udpu", "udp"])
def test_links_drop_strangers_in_the_kernel_and_follow_the_addresses(stack: ExitStack, multicast: bool) -> None:
    nodes = Nodes(stack, multicast=multicast)
    transport = nodes.links[1].transport
    assert transport is not None
    stranger = bound(stack, "127.0.0.9")
    stranger.sendto(mcast(9, 1), ("127.0.0.1", nodes.port))
    assert nodes.nothing_for(1)
    assert nodes.links[1].more_counters()["rx_dropped_by_kernel"] == 1
    transport.set_members({1: ("127.0.0.1",), 2: ("127.0.0.9",), 3: ("127.0.0.3",)})
    stranger.sendto(mcast(2, 2), ("127.0.0.1", nodes.port))
    assert nodes.received(1, 1) == [mcast(2, 2)]
    for each in transport.sockets:
        if each.fileno() not in transport.filenos():
            assert heard(each, {"a member": bound(stack, "127.0.0.3")}) == set()


def test_without_a_nodelist_everybody_is_heard(stack: ExitStack) -> None:
    nodes = Nodes(stack, multicast=True, nodelist=False)
    bound(stack, "127.0.0.9").sendto(mcast(9, 1), ("127.0.0.1", nodes.port))
    assert nodes.received(1, 1) == [mcast(9, 1)]


def test_links_of_knet_drop_strangers_too(stack: ExitStack) -> None:
    sockets = KnetSockets(Counter(), lambda _link, _to, _size: None, lambda _link, _to, _count: None)
    stack.callback(sockets.close)
    sockets.open(0, "127.0.0.1", reserve_port(stack), 0)
    to = next(iter(sockets.sockets.values())).getsockname()
    sockets.admit(0, frozenset({"127.0.0.2"}))
    sockets.admit(1, frozenset())
    bound(stack, "127.0.0.9").sendto(b"stranger", to)
    bound(stack, "127.0.0.2").sendto(b"member", to)
    arrivals = sockets.receive(sockets.filenos(), 64)
    assert [datagrams for _, _, datagrams in arrivals] == [[b"member"]]
    assert sockets.dropped_by_kernel() == 1
