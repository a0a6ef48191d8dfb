"""The recorder sees every datagram that is sent, once, with the bytes that were sent."""

import sys

import pytest

from rondo.testing.lab.faults import Faults
from rondo.testing.lab.netns import Lab
from tests.cluster.capture import Capture
from tests.cluster.probing import PORT, send

pytestmark = pytest.mark.namespaces

DATAGRAM_COUNT = 200
# One system call that the kernel cuts into four datagrams, the last one short.
SEND_SEGMENTS = """
import socket, struct
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.sendmsg([bytes(3500)], [(socket.IPPROTO_UDP, 103, struct.pack("=H", 1000))], 0, ("10.77.0.2", 9000))
"""


@pytest.mark.parametrize("destination", ["10.77.0.2", "239.192.7.7", "fd77::2", "ff15::7777"])
def test_every_datagram_is_recorded_once(lab: Lab, destination: str) -> None:
    with Capture(lab) as capture:
        send(lab.host(1), destination, count=DATAGRAM_COUNT, size=50)
    recorded = capture.datagrams(PORT)
    assert [int(datagram.payload[:8]) for datagram in recorded] == list(range(DATAGRAM_COUNT))
    own_address = lab.host(1).address6 if ":" in destination else lab.host(1).address
    assert {(datagram.source, datagram.destination) for datagram in recorded} == {(own_address, destination)}
    assert {(len(datagram.payload), datagram.fragments) for datagram in recorded} == {(50, 1)}
    times = [datagram.time_ns for datagram in recorded]
    assert times == sorted(times)


@pytest.mark.parametrize("destination", ["10.77.0.2", "fd77::2"])
def test_fragments_are_put_together(lab: Lab, destination: str) -> None:
    with Capture(lab) as capture:
        send(lab.host(1), destination, count=3, size=5000)
    recorded = capture.datagrams(PORT)
    assert [datagram.payload for datagram in recorded] == [(b"%08d" % n).ljust(5000, b".") for n in range(3)]
    assert {datagram.fragments for datagram in recorded} == {4}


def test_what_a_fault_drops_was_sent_and_is_recorded(lab: Lab) -> None:
    faults = Faults(lab)
    faults.cut([1], [2], match=f"udp dport {PORT}")
    with Capture(lab) as capture:
        send(lab.host(1), "10.77.0.2", count=3)
    assert len(capture.datagrams(PORT)) == 3
    assert faults.dropped() == 3


def test_datagrams_sent_as_one_group_are_recorded_apart(lab: Lab) -> None:
    with Capture(lab) as capture:
        lab.host(1).run([sys.executable, "-c", SEND_SEGMENTS])
    assert [len(datagram.payload) for datagram in capture.datagrams(PORT)] == [1000, 1000, 1000, 500]
