"""C nodes that have a quorum device: Rondo has none, and lives with theirs, as a C node does whose own is not there."""

from __future__ import annotations

from services.control.quorum.votequorum import Votequorum
from services.control.quorum.wire import Flag, NodeInfo, QdeviceReconfigure, QdeviceReg, decode, encode
from tests.unit.control.ring import Cluster

TWO = {1: 1, 2: 1}
REGISTERED = Flag.QUORATE | Flag.DEVICE_REGISTERED
CASTS = REGISTERED | Flag.DEVICE_ALIVE | Flag.DEVICE_CASTS_VOTE


def _cluster(*, with_device: bool = True) -> Cluster:
    """Node 2 has a device with a vote."""
    cluster = Cluster(TWO)
    cluster.start(1, 2)
    cluster.form(1, 2)
    if with_device:
        _hear(cluster, QdeviceReg(True, b"net"), NodeInfo(0, 1, 0, 0), NodeInfo(2, 1, 2, CASTS))
    return cluster


def _votes(cluster: Cluster) -> Votequorum:
    return cluster.members[1].votes


def _hear(cluster: Cluster, *messages: NodeInfo | QdeviceReg | QdeviceReconfigure) -> None:
    """Node 1 hears this of node 2."""
    for message in messages:
        _votes(cluster).message(2, encode(message))
    assert not _votes(cluster).refused


def _said_in_a_sync(cluster: Cluster) -> list[object]:
    """What node 1 says of the device."""
    return [decode(data) for data in _votes(cluster).sync_step()[1:]]


def test_its_votes_are_expected_and_do_not_count_here() -> None:
    cluster = _cluster()
    assert cluster.shows(1) == (3, 3, 2, 2, True), "two of three, where C's node 2 has all three"
    cluster.kill(2)
    cluster.form(1)
    assert cluster.shows(1) == (3, 3, 1, 2, False), "its vote is node 2's, and gone with it"


def test_its_name_and_votes_are_told_to_nodes_that_come() -> None:
    cluster = _cluster()
    assert _said_in_a_sync(cluster) == [NodeInfo(0, 1, 0, 0), QdeviceReg(True, b"net")]
    _hear(cluster, QdeviceReg(True, b"another"))
    assert _said_in_a_sync(cluster)[1] == QdeviceReg(True, b"net"), "the first name stays"
    _hear(cluster, QdeviceReconfigure(b"of others", b"new"))
    assert _said_in_a_sync(cluster)[1] == QdeviceReg(True, b"net")
    _hear(cluster, QdeviceReconfigure(b"net", b"new"))
    assert _said_in_a_sync(cluster)[1] == QdeviceReg(True, b"new")
    cluster.revive(1)
    assert _said_in_a_sync(cluster) == [NodeInfo(0, 1, 0, 0), QdeviceReg(True, b"new")]


def test_it_is_forgotten_when_no_member_has_it() -> None:
    cluster = _cluster()
    _hear(cluster, QdeviceReg(False, b"net"))
    assert _said_in_a_sync(cluster)[1:] == [QdeviceReg(True, b"net")], "node 2 has it still"
    _hear(cluster, NodeInfo(2, 1, 3, Flag.QUORATE), QdeviceReg(False, b"net"))
    assert _said_in_a_sync(cluster)[1:] == []


def test_its_votes_sink_only_for_who_is_not_quorate_and_hears_of_one_that_is() -> None:
    cluster = _cluster()
    _hear(cluster, NodeInfo(0, 0, 0, 0))
    assert _votes(cluster).nodes.device_votes == 1
    cluster.form(1)
    assert not _votes(cluster).quorate
    _hear(cluster, NodeInfo(2, 1, 3, Flag(0)), NodeInfo(0, 0, 0, 0))
    assert _votes(cluster).nodes.device_votes == 1
    waiting = _cluster(with_device=False)
    waiting.form(1)
    known = _votes(waiting).nodes.get(2)
    assert known is not None
    _votes(waiting).nodes.device_votes = 5
    known.flags = REGISTERED
    _hear(waiting, NodeInfo(0, 2, 0, 0))
    assert _votes(waiting).nodes.device_votes == 2


def test_its_votes_are_changed_by_hand_as_those_of_node_0() -> None:
    cluster = _cluster()
    assert _votes(cluster).set_votes(0, 2)
    cluster.deliver()
    assert [each.votes.nodes.device_votes for each in cluster.members.values()] == [2, 2]
    assert cluster.shows(1)[0] == 4
