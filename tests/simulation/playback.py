"""Record all packets of a sealed ring over a long time, and send them again: to the ring, and to restarted nodes.

    python -m tests.simulation.playback --minutes 60

The ring is in the simulator, sealer and opener are the real ones. While packets are recorded, nodes send, die and come
back, and the key is changed. Then the whole recording is sent again, each packet to where it went and in the order in
which they went, while the ring goes on. Then each node is restarted, one after the other, and the recording is sent a
second time. No packet of the recording may be opened, no ring may change, no message may be delivered.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from typing import NamedTuple

from services.totem.ring.options import RingOptions
from tests.simulation.cluster import Cluster
from tests.simulation.network import Sealed
from tests.simulation.sealing import Sealing
from tests.simulation.world import SECOND

RESTART_S = 240
SEND_S = 5
BATCH, PAUSE_MS = 200, 20.0
"""How many recorded packets are sent again at a time, and the pause after them."""

NODES = (1, 2, 3)


class Outcome(NamedTuple):
    """What a playback has seen."""

    recorded: int
    rings: int
    """Rings that were formed while packets were recorded."""
    counted: int
    """Recorded packets that were counted as not opened, both times together."""


def sealed_cluster(
    nodes: int = 3, suite: tuple[str, str] = ("aes256-gcm", "none"), secrecy: dict[int, str] | None = None,
    **options: object,
) -> Cluster:  # fmt: skip
    """A cluster whose packets are sealed; `secrecy`: auto, yes or no for each node."""
    cluster = Cluster(nodes, **options)  # type: ignore[arg-type]
    cluster.world.sealing = Sealing(cluster.world, 0, suite, secrecy)
    return cluster


def sealing_of(cluster: Cluster) -> Sealing:
    """The packet security of a cluster."""
    found = cluster.world.sealing
    assert found is not None
    return found


def counted(cluster: Cluster) -> int:
    """How many packets came and were not opened: refused ones, challenges answered again, answers nobody waits for.

    Packets that wait while their sender is asked for its boot are counted, too.
    """
    openers = [host.life.security.opener for host in cluster.world.hosts.values() if host.life is not None]
    names = ("replayed", "unknown_boot", "wrong_key", "stale_answers", "challenges_answered")
    kept = [peer.question.held for opener in openers for peer in opener.peers.all() if peer.question is not None]
    return sum(opener.counters[name] for opener in openers for name in names) + sum(map(len, kept))


def play_back(minutes: float) -> Outcome:
    """Record so many virtual minutes and play them back twice. Raises SimulationError or AssertionError."""
    cluster = sealed_cluster(**asdict(RingOptions()))
    attacker = sealing_of(cluster)
    recorded: list[tuple[int, Sealed]] = []
    put = attacker.put

    def record(target: int, datagram: Sealed) -> None:
        # The copy is marked as a forgery: the run fails if a node opens it.
        recorded.append((target, Sealed.of(datagram, datagram.kind, datagram.source, forged=True)))
        put(target, datagram)

    attacker.put = record  # type: ignore[method-assign]
    _live(cluster, attacker, minutes * 60)
    attacker.put = put  # type: ignore[method-assign]
    rings = len(cluster.rings(1))
    total = _send_again(cluster, recorded)
    for node in NODES:
        cluster.crash(node)
        cluster.expect_ring(*(other for other in NODES if other != node))
        cluster.start(node)
        cluster.expect_ring(*NODES)
        cluster.run(2_000)
    total += _send_again(cluster, recorded)
    cluster.finish()
    return Outcome(len(recorded), rings, total)


def _live(cluster: Cluster, attacker: Sealing, seconds: float) -> None:
    cluster.form()
    steps = [(step, node) for step in ("install", "use", "remove") for node in NODES]
    restart_s = min(RESTART_S, seconds / 4)
    next_restart, next_step = restart_s, seconds / 2
    turn = 0
    while cluster.world.now() < seconds * SECOND:
        turn += 1
        now_s = cluster.world.now() / SECOND
        cluster.send(NODES[turn % 3], *[300] * 5)
        if now_s > next_restart:
            next_restart += restart_s
            cluster.crash(NODES[turn % 3])
            cluster.run(500)
            cluster.start(NODES[turn % 3])
            cluster.expect_ring(*NODES)
        if now_s > next_step and steps:
            step, node = steps.pop(0)
            attacker.change_key(node, step)
        cluster.run(SEND_S * 1000)
    for step, node in steps:
        attacker.change_key(node, step)
    cluster.settle()


def _send_again(cluster: Cluster, recorded: list[tuple[int, Sealed]]) -> int:
    """Send the recording again. Gives how many packets were counted as not opened. Nothing else may happen."""
    before = counted(cluster)
    rings = [cluster.rings(node) for node in NODES]
    delivered = [len(cluster.delivered(node)) for node in NODES]
    world = cluster.world
    for start in range(0, len(recorded), BATCH):
        for target, datagram in recorded[start : start + BATCH]:
            world.network.send(world.now(), datagram.source, target, datagram)
        cluster.run(PAUSE_MS)
    cluster.run(10_000)
    assert [cluster.rings(node) for node in NODES] == rings, "a ring has changed"
    assert [len(cluster.delivered(node)) for node in NODES] == delivered, "a message was delivered"
    return counted(cluster) - before


def main(arguments: list[str] | None = None) -> int:
    """Record, send again, and print what was seen. Gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="virtual time to record (default: %(default)s)")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    found = play_back(options.minutes)
    print(
        f"{options.minutes:g} virtual minutes: {found.rings} rings, {found.recorded} packets recorded, sent again "
        f"twice; {found.counted} counted, none opened; no ring changed, nothing delivered "
        f"({time.monotonic() - began:.0f} s)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
