"""The faults do what they say: each is seen from the hosts, and counted at the switch."""

import pytest

from rondo.testing.lab.faults import Faults
from rondo.testing.lab.netns import Host, Lab
from rondo.testing.lab.waiting import wait_for
from tests.cluster.probing import PORT, Listener, send

pytestmark = pytest.mark.namespaces

DATAGRAM_COUNT = 600


def test_a_cut_is_one_way(lab: Lab) -> None:
    faults = Faults(lab)
    at_1, at_2, at_3 = (Listener(lab.host(number)) for number in (1, 2, 3))
    for source, destination in ((1, "10.77.0.2"), (2, "10.77.0.1")):
        send(lab.host(source), destination)  # the hosts learn each other's hardware addresses
    at_1.wait(1)
    at_2.wait(1)
    faults.cut([1], [2])
    send(lab.host(1), "10.77.0.2")
    send(lab.host(2), "10.77.0.1")
    send(lab.host(1), "10.77.0.3")
    assert len(at_1.wait(2)) == 2
    assert len(at_3.wait(1)) == 1
    assert len(at_2.heard()) == 1
    assert faults.dropped() >= 1


def test_a_partition_holds_multicast_too_until_it_is_healed(lab: Lab) -> None:
    faults = Faults(lab)
    group = "239.192.7.7"
    at_2, at_3 = Listener(lab.host(2), group), Listener(lab.host(3), group)
    faults.partition({1, 2}, {3})
    send(lab.host(1), group)
    assert len(at_2.wait(1)) == 1
    assert at_3.heard() == []
    assert faults.dropped() >= 1
    faults.heal()
    send(lab.host(1), group)
    assert len(at_3.wait(1)) == 1
    assert len(at_2.wait(2)) == 2


def test_an_isolated_host_is_alone(lab: Lab) -> None:
    faults = Faults(lab)
    at_1, at_3 = Listener(lab.host(1)), Listener(lab.host(3))
    faults.isolate(1)
    send(lab.host(2), "10.77.0.1")
    send(lab.host(2), "10.77.0.3")
    assert len(at_3.wait(1)) == 1
    assert at_1.heard() == []


def test_random_loss_loses_about_what_was_asked_and_counts_it(lab: Lab) -> None:
    faults = Faults(lab)
    at_2 = Listener(lab.host(2))
    faults.lose(30, [1], [2], match=f"udp dport {PORT}")
    send(lab.host(1), "10.77.0.2", count=DATAGRAM_COUNT)
    dropped = faults.dropped()
    # 30 % of 600 is 180 with a standard deviation of 11: this fails by chance less than once in 10^9 runs.
    assert 105 < dropped < 255
    assert len(at_2.wait(DATAGRAM_COUNT - dropped)) == DATAGRAM_COUNT - dropped


def test_only_what_matches_is_dropped(lab: Lab) -> None:
    faults = Faults(lab)
    at_2 = Listener(lab.host(2))
    faults.cut([1], [2], match="udp length > 1000")
    send(lab.host(1), "10.77.0.2", size=1200)
    send(lab.host(1), "10.77.0.2", size=200)
    assert [datagram["size"] for datagram in at_2.wait(1)] == [200]
    assert faults.dropped() == 1


def wait_until_heard(sender: Host, listener: Listener, address: str, source: str) -> None:
    """Send again and again until it is heard: the sender may still be asking for a hardware address as it did while
    nobody was there, and then gives up what it has."""

    def heard() -> set[str]:
        send(sender, address)
        return {datagram["from"] for datagram in listener.heard()}

    wait_for(heard, lambda sources: source in sources, f"{source} is heard", 60.0)


def test_an_interface_goes_down_and_comes_back_with_its_addresses(lab: Lab) -> None:
    host = lab.host(2)
    listener = Listener(host)
    host.interface_down()
    assert "10.77.0.2" not in host.run(["ip", "addr"]).stdout
    send(lab.host(1), "10.77.0.2")
    host.interface_up()
    wait_until_heard(lab.host(1), listener, "10.77.0.2", "10.77.0.1")
    wait_until_heard(lab.host(1), listener, "fd77::2", "fd77::1")


def test_a_pulled_cable_takes_the_carrier_and_leaves_the_addresses(lab: Lab) -> None:
    host = lab.host(2)
    lab.unplug(2)
    # The kernel tells the state of the carrier a moment later.
    shown = wait_for(
        lambda: host.run(["ip", "addr", "show", "eth0"]).stdout, lambda text: "NO-CARRIER" in text, "no carrier", 60
    )
    assert "10.77.0.2/24" in shown
    lab.plug(2)
    wait_until_heard(lab.host(1), Listener(host), "10.77.0.2", "10.77.0.1")
