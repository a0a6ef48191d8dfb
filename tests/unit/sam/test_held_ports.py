"""The ports of a dead ring process stay open, and those of a living one get all that comes."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest

from services.sam.held_ports import PORTS_MAX, HeldPorts

ADDRESSES = {4: "127.0.0.1", 6: "::1"}


@pytest.fixture
def held() -> Iterator[HeldPorts]:
    made = HeldPorts()
    yield made
    made.close()


def ring_socket(version: int, port: int = 0) -> socket.socket:
    """As totem has them: with an address, and shared."""
    made = socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((ADDRESSES[version], port))
    made.settimeout(10)
    return made


def sender(version: int, port: int) -> socket.socket:
    """Connected, so that ICMP is told of."""
    made = socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_DGRAM)
    made.connect((ADDRESSES[version], port))
    return made


def is_refused(out: socket.socket) -> bool:
    """Whether ICMP says that nobody listens; on loopback it does so when the packet has left, or soon after."""
    poll = select.poll()
    poll.register(out, 0)  # errors are always told
    out.send(b"ping")
    return bool(poll.poll(500))


@pytest.mark.parametrize("version", [4, 6])
def test_a_port_that_is_held_is_not_closed(held: HeldPorts, version: int) -> None:
    with ring_socket(version) as ring:
        port = ring.getsockname()[1]
        held.hold([(version, port)])
        assert held.ports == [(version, port)]
    with sender(version, port) as out:
        assert not is_refused(out)
        held.close()
        assert is_refused(out)


@pytest.mark.parametrize("version", [4, 6])
def test_the_ring_gets_all_that_comes_whoever_was_there_first(held: HeldPorts, version: int) -> None:
    with ring_socket(version) as first:
        port = first.getsockname()[1]
        held.hold([(version, port)])
        with sender(version, port) as out:
            out.send(b"to the first")
            assert first.recv(100) == b"to the first"
            first.close()
            for _ in range(1000):  # more than is kept
                out.send(bytes(1000))
            with ring_socket(version, port) as second:
                out.send(b"to the second")
                while (got := second.recv(2000)) == bytes(1000):
                    pass  # the kernel may be late with what was sent before
                assert got == b"to the second"


def test_others_are_let_go_and_their_number_is_bounded(held: HeldPorts) -> None:
    rings = [ring_socket(4) for _ in range(PORTS_MAX + 1)]
    ports = [(4, ring.getsockname()[1]) for ring in rings]
    held.hold(ports)
    assert len(held.ports) == PORTS_MAX
    held.hold(ports[:1])
    assert held.ports == ports[:1]
    for ring in rings:
        ring.close()


def test_what_cannot_be_held_is_left(held: HeldPorts) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))  # not shared
        held.hold([(4, other.getsockname()[1])])
    assert held.ports == []
