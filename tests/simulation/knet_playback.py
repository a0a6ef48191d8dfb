"""Measures what an attacker can do to a ring over knet who has recorded its traffic, but does not have its key.

    python -m tests.simulation.knet_playback --minutes 60

The simulator runs three nodes with two links, aes256 and sha256. While the recording is made, nodes send, die and come
back. Then each of these attacks is made while applications go on sending:

* altered: each packet of the recording, with one bit changed or its end cut off;
* one life: the recording as it is, in its order, to the nodes that ran when it ended;
* new lives: the same, after each node was restarted;
* at random: packets of the recording in any order, to any node;
* far numbers: unchanged packets whose numbers lie far apart, so that each begins a new window of numbers.

An hour has millions of packets. Of so long a recording only parts are sent, at even distances (`stretches`).

A knet packet has a number of 16 bits, and nothing that tells before which restart it was sent. So nodes open many of
these packets. The program counts the consequences: frames that reached the ring, rings that were formed, and the
longest time without a message. The checker judges the whole run, and would find a message that is delivered twice.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise
from random import Random
from typing import NamedTuple

from services.totem.wire.frames import Kind
from tests.simulation.cluster import Cluster
from tests.simulation.knet_wires import KnetPlan, Wires
from tests.simulation.network import OnLink
from tests.simulation.world import SECOND

NODES = (1, 2, 3)
RESTART_S = 240
SEND_S = 5
BATCH, PAUSE_MS = 20, 10.0
"""The attacker sends so many packets at once, and then pauses (2000 packets a second). Each node sends in the pause."""
SETTLE_MS = 1000
STEPS_MAX = 2_000_000
STEPS_A_MINUTE_MAX = 1_000_000
"""Bounds of the simulator's steps. A run that needs more counts as one that never ends. One recorded minute takes
45,000 steps, and each of its packets is sent again three and a half times."""
PACKETS_MAX = 100_000
STRETCH = 1_000
"""At most PACKETS_MAX packets of a recording are sent again, in stretches of STRETCH successive packets."""

Recorded = tuple[int, OnLink]
"""The receiver, and the datagram."""


class Outcome(NamedTuple):
    """The consequences of one attack."""

    attack: str
    sent: int
    refused: int
    """Packets that were not opened, because their hash was wrong."""
    copies: int
    """Packets that were opened, but whose number showed that they were copies."""
    handed_in: int
    """Frames that reached the ring."""
    windows: int
    """New windows that numbers far away have begun."""
    rings: int
    """Rings that were formed during the attack."""
    longest_gap_ms: float
    """The longest time in which some node delivered no message."""


def wires_of(cluster: Cluster) -> Wires:
    """The links of a cluster."""
    assert cluster.world.wires is not None
    return cluster.world.wires


class Attacker:
    """Records all packets on the links, and sends them again."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.recorded: list[Recorded] = []
        self.random = Random("attacker of knet")
        wires_of(cluster).on_sent = self._seen

    def _seen(self, target: int, datagram: OnLink) -> None:
        copy = OnLink.on(datagram, datagram.kind, datagram.source, datagram.link)
        copy.forged = True
        self.recorded.append((target, copy))

    def stop_recording(self) -> int:
        """End the recording and choose what will be sent again. Returns how many packets were recorded."""
        wires_of(self.cluster).on_sent = None
        seen = len(self.recorded)
        self.recorded = stretches(self.recorded)
        return seen

    def do(self, name: str, packets: Iterable[Recorded]) -> Outcome:
        """Send these packets while the ring works, and count the consequences."""
        cluster, world = self.cluster, self.cluster.world
        before, rings, began_s = _counted(cluster), len(cluster.rings(1)), world.now() / SECOND
        batch: list[Recorded] = []
        sent = 0
        for each in packets:
            batch.append(each)
            if len(batch) == BATCH:
                sent += self._put(batch)
                batch = []
        sent += self._put(batch)
        after = _counted(cluster)
        after.subtract(before)
        cluster.run(SETTLE_MS)
        cluster.expect_ring(*NODES)
        return Outcome(
            name, sent, after["rx_digest"], after["rx_copies"], after["replayed_frames"], after["restarts"],
            len(cluster.rings(1)) - rings, _longest_gap_ms(cluster, began_s),
        )  # fmt: skip

    def _put(self, batch: list[Recorded]) -> int:
        world = self.cluster.world
        for target, datagram in batch:
            world.network.send(world.now(), datagram.source, target, datagram, datagram.link)
        for node in NODES:
            self.cluster.send(node, 100)
        self.cluster.run(PAUSE_MS)
        return len(batch)

    def altered(self) -> Iterable[Recorded]:
        """Each packet of the recording, with a bit changed or its end cut off."""
        for target, datagram in self.recorded:
            at = self.random.randrange(1, len(datagram))
            turned = bytes([datagram[at] ^ 1 << self.random.randrange(8)])
            content = datagram[:at] + (b"" if self.random.random() < 0.2 else turned + datagram[at + 1 :])
            yield target, OnLink.on(content, datagram.kind, datagram.source, datagram.link)

    def at_random(self) -> Iterable[Recorded]:
        """Half as many packets as were recorded, in any order, each to any node except its sender."""
        for _ in range(len(self.recorded) // 2):
            target, datagram = self.random.choice(self.recorded)
            others = [node for node in NODES if node != datagram.source]
            yield (target if self.random.random() < 0.8 else self.random.choice(others)), datagram

    def far_numbers(self) -> Iterable[Recorded]:
        """Data packets, taken in turn from the beginning, the middle and the end of the recording."""
        data = [each for each in self.recorded if each[1].kind == Kind.MCAST]
        third = len(data) // 3
        for each in zip(data[:third], data[third : 2 * third], data[2 * third :], strict=False):
            yield from each


def stretches(recorded: list[Recorded]) -> list[Recorded]:
    """A short recording whole. Of a long one, stretches at even distances, from its beginning to its end."""
    if len(recorded) <= PACKETS_MAX:
        return recorded
    last, count = len(recorded) - STRETCH, PACKETS_MAX // STRETCH
    begins = (last * each // (count - 1) for each in range(count))
    return [packet for begin in begins for packet in recorded[begin : begin + STRETCH]]


def _counted(cluster: Cluster) -> Counter[str]:
    """The counters of the running nodes, and of the links."""
    found: Counter[str] = Counter()
    for host in cluster.world.hosts.values():
        assert host.knet_life is not None
        found.update(host.knet_life.knet.counters)
        found["restarts"] += sum(each.window.restarts for each in host.knet_life.knet.hosts.values())
    found["replayed_frames"] = wires_of(cluster).counts["replayed_frames"]
    return found


def _longest_gap_ms(cluster: Cluster, since_s: float) -> float:
    gaps = [0.0]
    for node in NODES:
        times = [event["t"] for event in cluster.events("deliver", node) if event["t"] >= since_s]
        # The time after the last message does not count: nobody sends in the last second.
        gaps += [1000 * (b - a) for a, b in pairwise(times)]
    return max(gaps)


def measure(minutes: float, say: Callable[[Outcome], None] = lambda _outcome: None) -> tuple[int, list[Outcome]]:
    """Record so many virtual minutes and make all attacks. Returns how many packets were recorded, and the outcomes.

    Raises AssertionError if a property of the ring is violated."""
    cluster = Cluster(NODES, knet=KnetPlan(cipher="aes256", hash="sha256"), token_timeout_ms=1000)
    cluster.world.steps_max = STEPS_MAX + int(minutes * STEPS_A_MINUTE_MAX)
    attacker = Attacker(cluster)
    _live(cluster, minutes * 60)
    seen = attacker.stop_recording()
    found: list[Outcome] = []

    def do(name: str, packets: Iterable[Recorded]) -> None:
        found.append(attacker.do(name, packets))
        say(found[-1])

    do("nothing", [])
    do("altered", attacker.altered())
    do("one life", attacker.recorded)
    _restart_all(cluster)
    do("new lives", attacker.recorded)
    do("at random", attacker.at_random())
    do("far numbers", attacker.far_numbers())
    cluster.finish()
    return seen, found


def _live(cluster: Cluster, seconds: float) -> None:
    cluster.form()
    restart_s = min(RESTART_S, seconds / 4)
    next_restart_s, turn = restart_s, 0
    while cluster.world.now() < seconds * SECOND:
        turn += 1
        cluster.send(NODES[turn % 3], *[300] * 5)
        if cluster.world.now() / SECOND > next_restart_s:
            next_restart_s += restart_s
            _restart(cluster, NODES[turn % 3])
        cluster.run(SEND_S * 1000)
    cluster.settle()


def _restart(cluster: Cluster, node: int) -> None:
    cluster.crash(node)
    cluster.run(500)
    cluster.start(node)
    cluster.expect_ring(*NODES)


def _restart_all(cluster: Cluster) -> None:
    for node in NODES:
        _restart(cluster, node)
    cluster.run(2_000)


def row(outcome: Outcome) -> str:
    """A line of the table in docs/SECURITY.md."""
    o = outcome
    return (
        f"| {o.attack} | {o.sent:,} | {o.refused:,} | {o.copies:,} | {o.handed_in:,} | {o.windows:,} | {o.rings} | "
        f"{o.longest_gap_ms:.0f} ms |"
    )


def main(arguments: list[str] | None = None) -> int:
    """Make the recording and the attacks, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="virtual time to record (default: %(default)s)")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    print("| what is sent | packets | not opened | known copies | frames to the ring | new windows | rings | gap |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    seen, _ = measure(options.minutes, lambda outcome: print(row(outcome), flush=True))
    took_s = time.monotonic() - began
    print(f"{options.minutes:g} virtual minutes, {seen:,} packets recorded; every property holds ({took_s:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
