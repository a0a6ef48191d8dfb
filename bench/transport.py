"""What a packet costs at the sockets: one call for each, or one for a turn of them (UDP_SEGMENT, UDP_GRO).

    python -m bench.transport [--seconds 0.3] [--packets 1,2,5,17,40] [--size 1455] [--suite aes256-gcm] [--json]

Two links of this program on 127.0.0.1 and .2, as the process uses them: node 1 sends so many packets in one turn to
everybody, node 2 receives them. Processor time of this thread per packet, kernel's share included, at the best of five
rounds: with groups as the kernel takes them, and with grouping switched off. Once plain, and once sealed.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import time
from collections import Counter
from collections.abc import Iterable

from bench.security import pair
from services.totem.keyring_file import Keys
from services.totem.protection import Protection
from services.totem.ring.events import EVERYBODY
from services.totem.security.suites import SUITES
from services.totem.transport.address_book import LinkSettings
from services.totem.transport.base import TransportSettings
from services.totem.transport.link import Link
from services.totem.wire.base import RingId
from services.totem.wire.frames import encode_mcast

ROUNDS = 5
KEY = bytes(range(256))


def free_port() -> int:
    """A UDP port that nobody has on 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Pair:
    """Two links that know each other."""

    def __init__(self, suite: str | None) -> None:
        protections: list[Protection | None] = [None, None]
        if suite is not None:
            protections = [Protection(each, Keys((KEY,), KEY)) for each in pair(SUITES[suite, "none"])]
        port = free_port()
        members = {node: (f"127.0.0.{node}",) for node in (1, 2)}
        self.counters: Counter[str] = Counter()
        self.links = []
        for node, protection in zip((1, 2), protections, strict=True):
            transport = TransportSettings(node, port)
            settings = LinkSettings(transport, members=members, local_address=f"127.0.0.{node}")
            link = Link(settings, self.counters, protection)
            link.start()
            link.tend((), 0)
            self.links.append(link)

    def turn(self, frames: list[bytes]) -> None:
        """Send from one to the other."""
        one, two = self.links
        one.send([(EVERYBODY, frame) for frame in frames])
        missing = len(frames)
        descriptors = two.data_filenos()
        while missing:
            readable, _, _ = select.select(descriptors, [], [], 1)
            got = len(two.receive(readable, 64, 0))
            if not got:
                raise SystemExit(f"{missing} packets did not come: {dict(self.counters)}")
            missing -= got

    def ungroup(self) -> None:
        """One call for each packet from now on."""
        transport = self.links[0].transport
        assert transport is not None
        transport.send_one_by_one()

    def close(self) -> None:
        """Close the sockets."""
        for link in self.links:
            link.close()


def cost_us(pair_: Pair, packets: int, size: int, seconds: float) -> float:
    """Microseconds per packet, of the best round."""
    frames = [encode_mcast(1, seq, seq, RingId(1, 4), bytes(size - 45)) for seq in range(packets)]
    rounds = []
    for _ in range(ROUNDS):
        spent_ns = done = 0
        while spent_ns < seconds * 1e9 / ROUNDS:
            began_ns = time.thread_time_ns()
            pair_.turn(frames)
            spent_ns += time.thread_time_ns() - began_ns
            done += packets
        rounds.append(spent_ns / done / 1000)
    return min(rounds)


def measure(suite: str | None, packets: int, size: int, seconds: float) -> dict[str, object]:
    """One row."""
    made = Pair(suite)
    try:
        grouped = cost_us(made, packets, size, seconds)
        made.ungroup()
        single = cost_us(made, packets, size, seconds)
    finally:
        made.close()
    return {
        "suite": suite or "plain", "packets": packets, "size": size,
        "one_by_one_us": round(single, 2), "grouped_us": round(grouped, 2),
    }  # fmt: skip


def main(arguments: Iterable[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.3, help="time for each number (default: %(default)s)")
    parser.add_argument("--packets", default="1,2,5,17,40", help="packets of a turn (default: %(default)s)")
    parser.add_argument("--size", type=int, default=1455, help="bytes of a frame (default: %(default)s)")
    parser.add_argument("--suite", default="aes256-gcm", help="aes256-gcm or aes128-gcm")
    parser.add_argument("--json", action="store_true", help="one JSON list")
    options = parser.parse_args(None if arguments is None else list(arguments))
    rows = [
        measure(suite, int(packets), options.size, options.seconds)
        for suite in (None, options.suite)
        for packets in options.packets.split(",")
    ]
    if options.json:
        print(json.dumps(rows))
        return 0
    print(f"{'':<11} {'packets':>7} {'bytes':>6} {'one by one':>11} {'grouped':>8}   us per packet, sent and received")
    for row in rows:
        print("{suite:<11} {packets:>7} {size:>6} {one_by_one_us:>11} {grouped_us:>8}".format(**row))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
