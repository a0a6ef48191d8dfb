"""Forward secrecy in scripted situations: which nodes form a ring, and which packets a thief of keys can open.

Some tests break a rule of forward secrecy. The simulated thief must notice each of these.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.totem.security import agreement
from services.totem.security.agreement import Agreement
from services.totem.security.envelope import RING_VERSION
from services.totem.security.ring_keys import Epoch, RingKeys
from services.totem.wire.frames import Kind
from tests.simulation.cluster import Cluster
from tests.simulation.network import Sealed
from tests.simulation.playback import sealed_cluster, sealing_of
from tests.simulation.thief import Thief
from tests.simulation.trace import SimulationError


def secret_cluster(nodes: int = 3, **modes: str) -> Cluster:
    """A cluster whose nodes have forward secrecy `auto`, except for those that are named (n2="yes")."""
    secrecy = {node: modes.get(f"n{node}", "auto") for node in range(1, nodes + 1)}
    return sealed_cluster(nodes, secrecy=secrecy, members=frozenset(range(1, nodes + 1)))


def thief_of(cluster: Cluster) -> Thief:
    thief = sealing_of(cluster).thief
    assert thief is not None
    return thief


def live(cluster: Cluster) -> None:
    """Let nodes crash and come back, so that several rings follow each other, with traffic in each."""
    cluster.form()
    for crashed in (2, 3):
        cluster.run(300)
        for node in cluster.nodes:
            cluster.send(node, *[300] * 20)
        cluster.settle()
        cluster.crash(crashed)
        cluster.run(3000)
        cluster.send(1, *[300] * 20)
        cluster.start(crashed)
        cluster.expect_ring(1, 2, 3)
    cluster.run(300)


def in_force(cluster: Cluster) -> list[bool]:
    return [host.ring.secrecy.in_force for host in cluster.world.hosts.values() if host.ring is not None]


def test_who_steals_the_key_file_or_a_memory_opens_nothing_of_rings_that_ended() -> None:
    cluster = secret_cluster()
    live(cluster)
    for node in cluster.nodes:
        sealing_of(cluster).steal_memory(node)
    assert thief_of(cluster).opened == {"present_ring"}
    cluster.finish()
    thief_of(cluster).steal_key_file()
    assert thief_of(cluster).opened == {"present_ring", "under_key"}


def test_data_and_tokens_are_sealed_with_the_key_of_the_ring_and_nothing_else_is() -> None:
    cluster = secret_cluster()
    seen: dict[int, set[int]] = {}
    put = sealing_of(cluster).put

    def watch(target: int, datagram: Sealed) -> None:
        seen.setdefault(datagram.kind, set()).add(datagram[1])
        put(target, datagram)

    sealing_of(cluster).put = watch  # type: ignore[method-assign]
    live(cluster)
    of_rings = {kind for kind, versions in seen.items() if versions == {RING_VERSION}}
    assert of_rings == {Kind.TOKEN, Kind.MCAST}
    assert all(versions == {1} for kind, versions in seen.items() if kind not in of_rings)


def test_one_that_does_not_have_it_makes_a_ring_without_and_the_next_ring_has_it_again() -> None:
    cluster = secret_cluster(n3="no")
    cluster.form()
    cluster.run(300)
    assert in_force(cluster) == [False] * 3
    sealing_of(cluster).secrecy[3] = "auto"
    cluster.crash(3)
    cluster.start(3)
    cluster.expect_ring(1, 2, 3)
    assert in_force(cluster) == [True] * 3
    cluster.finish()


def test_who_requires_it_forms_no_ring_with_one_that_does_not_have_it_and_both_rings_are_stable() -> None:
    cluster = secret_cluster(n1="yes", n3="no")
    for node in cluster.nodes:
        cluster.start(node)
    cluster.run(20_000)
    assert cluster.world.formed((1, 2))
    assert cluster.world.formed((3,))
    rings = [host.ring for host in cluster.world.hosts.values() if host.ring is not None]
    assert [ring.secrecy.in_force for ring in rings] == [True, True, False]
    assert [ring.secrecy.refused for ring in rings[:2]] == [{3}, {3}]
    assert 1 in rings[2].secrecy.refused
    before = len(cluster.rings(1))
    cluster.run(20_000)
    assert len(cluster.rings(1)) == before
    assert not any(packet for packet in cluster.events("deliver") if packet["node"] == 3 and packet["msg"][0] != 3)


def test_two_that_require_it_are_one_ring() -> None:
    cluster = secret_cluster(n1="yes", n2="yes", n3="yes")
    live(cluster)
    assert in_force(cluster) == [True] * 3
    cluster.finish()


def test_busy_rings_that_cannot_read_each_other_merge_all_the_same() -> None:
    cluster = secret_cluster(4)
    cluster.form()
    cluster.world.network.partition([(1, 2), (3, 4)])
    cluster.expect_ring(1, 2)
    cluster.expect_ring(3, 4)
    cluster.world.network.blocked.clear()
    for _ in range(400):
        for node in (1, 3):
            cluster.send(node, 200)
        cluster.run(5)
        if cluster.world.formed((1, 2, 3, 4)):
            break
    else:
        raise AssertionError("the two rings do not merge while both are busy")
    cluster.finish()


@pytest.mark.parametrize("step", ["use", "remove"])
def test_the_key_is_changed_without_a_new_ring_and_who_has_the_old_one_alone_is_shut_out_at_once(step: str) -> None:
    cluster = secret_cluster()
    cluster.form()
    cluster.run(300)
    before = cluster.rings(1)
    for each in ("install", "use", "remove")[: 2 if step == "use" else 3]:
        for node in cluster.nodes:
            for sender in cluster.nodes:
                cluster.send(sender, *[200] * 10)
            cluster.run(1.3)
            sealing_of(cluster).change_key(node, each)
        cluster.run(50)
    cluster.settle()
    assert cluster.rings(1) == before
    assert not cluster.events("token_resend")
    cluster.finish()


# -- a rule is broken: the thief notices


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[object, str, object], None]:
    return lambda owner, name, value: monkeypatch.setattr(owner, name, value)


def steal_everything() -> None:
    cluster = secret_cluster()
    live(cluster)
    for node in cluster.nodes:
        sealing_of(cluster).steal_memory(node)
    cluster.finish()
    thief_of(cluster).steal_key_file()


def test_an_ephemeral_key_that_is_used_again_is_noticed(broken: Callable[[object, str, object], None]) -> None:
    broken(Agreement, "forget", lambda self: None)
    with pytest.raises(SimulationError, match=r"the memory of node \d opens a packet"):
        steal_everything()


def test_a_secret_that_is_not_wiped_is_noticed(broken: Callable[[object, str, object], None]) -> None:
    broken(Epoch, "wipe", lambda self: None)
    broken(RingKeys, "install", _install_and_keep)
    with pytest.raises(SimulationError, match=r"the memory of node \d opens a packet"):
        steal_everything()


def _install_and_keep(self: RingKeys) -> None:
    self.__dict__.setdefault("former", []).append(self._installed)
    self._installed = self._formed
    self._changed()


def test_a_secret_that_comes_from_the_key_file_is_noticed(broken: Callable[[object, str, object], None]) -> None:
    def from_file(self: Agreement, *_: object) -> bool:
        self._keep(self._keyring.cluster_key(self._keyring.in_use))
        return True

    broken(Agreement, "take", from_file)
    cluster = secret_cluster()
    live(cluster)
    with pytest.raises(SimulationError, match="the key file alone opens a packet"):
        thief_of(cluster).steal_key_file()


def test_a_secret_that_goes_round_in_the_clear_is_noticed(broken: Callable[[object, str, object], None]) -> None:
    broken(agreement, "seal_box", lambda _key, _shared, _hop, secret: secret + bytes(16))
    broken(agreement, "open_box", lambda _key, _shared, _hop, box: box[:32])
    cluster = secret_cluster()
    live(cluster)
    with pytest.raises(SimulationError, match="the key file alone opens a packet"):
        thief_of(cluster).steal_key_file()
