"""Which address a node runs on, and what happens while it is not there."""

from __future__ import annotations

import logging
import select
import socket
import threading
from collections import Counter
from contextlib import ExitStack
from ipaddress import ip_interface
from pathlib import Path

import pytest

from rondo.testing.lab.waiting import wait_for
from services.totem.ring.events import EVERYBODY
from services.totem.transport.address_book import AddressBook, LinkSettings
from services.totem.transport.base import TransportSettings
from services.totem.transport.interfaces import LocalAddress, find_address, is_local, local_addresses, select_address
from services.totem.transport.link import Link
from services.totem.transport.resolver import Resolver, look_up
from services.totem.transport.sockets import AddressNotAvailable
from services.totem.wire.frames import Join, encode_join
from tests.ports import reserve_port

SECOND_NS = 1_000_000_000


def local(address: str, interface: str = "eth0", up: bool = True) -> LocalAddress:
    return LocalAddress(address.partition("/")[0], interface, ip_interface(address), up)


MACHINE = [local("127.0.0.1/8", "lo"), local("10.1.2.3/24"), local("10.9.0.1/16", "eth1", up=False)]


def address_book(monkeypatch: pytest.MonkeyPatch, machine: list[LocalAddress], **settings: object) -> AddressBook:
    monkeypatch.setattr("services.totem.transport.address_book.local_addresses", lambda: machine)
    return AddressBook(LinkSettings(TransportSettings(1), **settings))  # type: ignore[arg-type]


def test_the_kernel_tells_the_loopback_address() -> None:
    found = find_address(local_addresses(), "127.0.0.1")
    assert found is not None
    assert (found.interface, found.up, found.network.network.prefixlen) == ("lo", True, 8)


@pytest.mark.parametrize(
    ("bindnetaddr", "address"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("10.1.2.0", "10.1.2.3"),
        ("10.1.2.77", "10.1.2.3"),
        ("127.0.0.0", "127.0.0.1"),
        ("127.0.0.9", "127.0.0.9"),
        ("10.5.0.0", None),
    ],
)
def test_bindnetaddr_is_an_address_or_a_network(bindnetaddr: str, address: str | None) -> None:
    found = select_address(MACHINE, bindnetaddr)
    assert (found.address if found else None) == address


def test_own_address_comes_from_the_nodelist(monkeypatch: pytest.MonkeyPatch) -> None:
    members = {1: ("10.1.2.3",), 2: ("10.1.2.4",)}
    assert address_book(monkeypatch, MACHINE, members=members, local_address="10.1.2.3").own_address() == "10.1.2.3"


def test_an_address_that_is_not_listed_may_still_be_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    # This is so with a local route to a whole network.
    members = {1: ("127.0.0.1",)}
    machine = [local("10.1.2.3/24")]
    assert address_book(monkeypatch, machine, members=members, local_address="127.0.0.1").own_address() == "127.0.0.1"


def test_whose_address_it_is() -> None:
    assert is_local("127.0.0.1")
    assert not is_local("192.0.2.99")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"bindnetaddr": "10.5.0.0"}, "no interface has an address in the network of bindnetaddr 10.5.0.0"),
        ({"bindnetaddr": "10.9.0.0"}, "the interface eth1 with 10.9.0.1 is down"),
        ({"members": {1: ("10.9.0.1",)}, "local_address": "10.9.0.1"}, "the interface eth1 with 10.9.0.1 is down"),
        ({"members": {1: ("127.0.1.1",), 2: ("10.1.2.4",)}, "local_address": "127.0.1.1"}, "cannot reach"),
        ({"members": {1: ("127.0.0.1",), 2: ("not-known",)}, "local_address": "127.0.0.1"}, "cannot reach"),
        ({"members": {1: ("192.0.2.99",)}, "local_address": "192.0.2.99"}, "no interface of this machine has the addr"),
        ({"members": {1: ("not-known",)}, "local_address": "not-known"}, "the name not-known has no address yet"),
    ],
)
def test_why_there_is_no_address(monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], why: str) -> None:
    with pytest.raises(AddressNotAvailable, match=why):
        address_book(monkeypatch, MACHINE, **settings).own_address()


def test_loopback_is_fine_if_all_nodes_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    members = {1: ("127.0.0.1",), 2: ("127.0.0.2",)}
    assert address_book(monkeypatch, MACHINE, members=members, local_address="127.0.0.1").own_address() == "127.0.0.1"


def test_an_interface_that_goes_and_comes(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    machine = [local("127.0.0.1/8", "lo")]
    monkeypatch.setattr("services.totem.transport.address_book.local_addresses", lambda: machine)
    join = encode_join(Join(1, 1, (1,), (), 4))
    caplog.set_level(logging.INFO)
    with ExitStack() as stack:
        settings = LinkSettings(
            TransportSettings(1, reserve_port(stack)), members={1: ("127.0.0.1",)}, local_address="127.0.0.1"
        )
        link = Link(settings, Counter())
        stack.callback(link.close)
        link.start()
        assert link.tend((), 0)
        machine[:] = [local("127.0.0.1/8", "lo", up=False)]
        assert not link.tend((), 1 * SECOND_NS), "it asks no more, as the kernel tells it"
        assert link.tend(link.filenos(), 1 * SECOND_NS), "as if the kernel had told it"
        assert (link.transport, link.why_down) == (None, "the interface lo with 127.0.0.1 is down")
        link.send([(EVERYBODY, join)])
        assert link.take_local() == [join], "the node goes on alone"
        assert link.receive((), 64, 0) == []
        assert not link.tend((), 1 * SECOND_NS), "not before the pause is over"
        assert not link.tend((), 2 * SECOND_NS)
        machine[:] = [local("127.0.0.1/8", "lo")]
        assert link.tend((), 3 * SECOND_NS)
        assert link.why_down == ""
    assert [each.getMessage() for each in caplog.records] == [
        "The network interface [127.0.0.1] is now up.",
        "The network interface [127.0.0.1] is now down.",
        "This node is isolated: the interface lo with 127.0.0.1 is down. It goes on trying.",
        "The network interface [127.0.0.1] is now up.",
    ]


def test_an_address_that_nobody_has_isolates_the_node(caplog: pytest.LogCaptureFixture) -> None:
    settings = LinkSettings(TransportSettings(1), members={1: ("192.0.2.99",)}, local_address="192.0.2.99")
    link = Link(settings, Counter())
    for turn in range(3):
        assert not link.tend((), turn * SECOND_NS)
    link.close()
    assert len([each for each in caplog.records if "isolated: no interface of this machine has" in each.message]) == 1


def test_names_are_looked_up_elsewhere_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    answers = {"good": [OSError(-2, "Name or service not known"), ["10.0.0.7"]], "literal": []}
    released = threading.Event()

    def lookup(name: str) -> list[str]:
        released.wait(5)
        answer = answers[name].pop(0)
        if isinstance(answer, OSError):
            raise answer
        assert isinstance(answer, list)
        return answer

    caplog.set_level(logging.INFO)
    resolver = Resolver(["good", "10.0.0.8", "good"], lookup=lookup)
    resolver.start()
    assert resolver.addresses("10.0.0.8") == ("10.0.0.8",)
    assert resolver.addresses("good") == (), "nobody waits for the name server"
    released.set()
    select.select([resolver.fileno()], [], [], 10)
    resolver.clear()
    assert resolver.addresses("good") == ("10.0.0.7",)
    resolver.close()
    assert len(caplog.records) == 2
    assert "The name good of the nodelist has no address: Name or service not known" in caplog.messages[0]
    assert caplog.messages[1] == "good is 10.0.0.7"


def test_a_resolver_that_is_closed_keeps_no_descriptor() -> None:
    """Each reload of the configuration makes a new resolver."""
    resolver = Resolver(["good"], lookup=lambda _name: ["10.0.0.7"])
    descriptor = resolver.fileno()
    resolver.start()
    select.select([descriptor], [], [], 10)
    resolver.close()
    wait_for(Path(f"/proc/self/fd/{descriptor}").exists, lambda there: not there, "it is closed", 10.0)


def test_the_ip_version_decides_which_addresses_of_a_name_count(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET6, 0, 0, "", ("fd00::1", 0, 0, 0)), (socket.AF_INET, 0, 0, "", ("10.0.0.1", 0))]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_args, **_more: found + found)
    assert look_up("name", "ipv4") == ["10.0.0.1"]
    assert look_up("name", "ipv6") == ["fd00::1"]
    assert look_up("name", "ipv4-6") == ["10.0.0.1", "fd00::1"]
    assert look_up("name", "ipv6-4") == ["fd00::1", "10.0.0.1"]
