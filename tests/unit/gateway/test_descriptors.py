"""`group.fileno()`: for applications that wait for many things at once."""

import select

import pytest

import rondo
from rondo._client.descriptors import Wakeup
from rondo._client.groups import Group
from rondo._client.worker import Worker
from tests.unit.gateway.conftest import GatewayProcess, eventually
from tests.unit.gateway.loopback import Loopback

LONG_S = 60


def is_readable(group: rondo.Group, timeout_s: float = 0.0) -> bool:
    return bool(select.select([group], [], [], timeout_s)[0])


def take_all(group: rondo.Group) -> list[rondo.Event]:
    """What can be taken at once."""
    found = []
    while (event := group.poll(0)) is not None:
        found.append(event)
    return found


def test_it_is_readable_while_there_are_events(loopback: Loopback, gateway: GatewayProcess) -> None:
    with gateway.connect() as cluster:
        group, other = cluster.cpg.join("g"), cluster.cpg.join("other")
        assert is_readable(group), "its membership came before anybody asked for a descriptor"
        take_all(group)
        take_all(other)
        assert not is_readable(group)
        for number in range(100):
            group.mcast(b"%d" % number)
            assert is_readable(group, LONG_S)
            (message,) = take_all(group)
            assert isinstance(message, rondo.Message)
            assert message.data == b"%d" % number
        assert not is_readable(other)
        assert group.fileno() == group.fileno() != other.fileno()


def test_the_thread_of_a_connection_reads_although_another_one_has_just_done(
    loopback: Loopback, gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves the socket to those who wait, and to who has waited for a moment yet; but who polls comes to wait only
    when it has read something."""
    reads: list[bool] = []

    class Noting(Worker):
        """Notes what it has decided to poll."""

        def sleep(self, now_s: float, *, idle: bool) -> None:
            super().sleep(now_s, idle=idle)
            reads.append(self.polls_socket)

    monkeypatch.setattr("rondo._client.link.Worker", Noting)
    with gateway.connect() as cluster:
        group = cluster.cpg.join("g")
        group.fileno()
        eventually(lambda: reads and reads[-1])
        del reads[:-1]
        for _ in range(20):
            take_all(group)
            group.mcast(b"x")
            assert is_readable(group, LONG_S)
    assert len(reads) > 1
    assert all(reads)


def test_it_stays_readable_until_all_that_came_together_is_taken(loopback: Loopback, gateway: GatewayProcess) -> None:
    with gateway.connect() as cluster:
        group = cluster.cpg.join("g")
        take_all(group)
        loopback.stall(True)
        requests = [group.mcast(b"%d" % number) for number in range(10)]
        loopback.stall(False)
        requests[-1].ordered(LONG_S)
        for _ in range(10):
            assert is_readable(group)
            assert group.poll(0) is not None


def test_it_is_readable_for_what_is_left_of_a_batch() -> None:
    """Where nothing else waits, and it is asked for only then."""
    group = Group("g")
    group.bell = Wakeup()
    group.silence()  # it may be somebody's former one
    group.ring()
    assert not select.select([group.bell], [], [], 0)[0]
    group.ready = iter([rondo.Resumed()])
    group.ring()
    assert select.select([group.bell], [], [], 0)[0]


def test_it_is_readable_when_nothing_will_come_any_more(loopback: Loopback, gateway: GatewayProcess) -> None:
    with gateway.connect() as cluster:
        group, other = cluster.cpg.join("g"), cluster.cpg.join("other")
        for each in (group, other):
            each.fileno()
            take_all(each)
        assert not is_readable(group)
        group.leave(LONG_S)
        while is_readable(group):
            try:
                group.poll(0)
            except rondo.NotExist:
                break
        else:
            pytest.fail("nobody is told that the group was left")
    assert is_readable(other, LONG_S)
    assert isinstance(other.poll(0), rondo.Disconnected)
    assert is_readable(other)
