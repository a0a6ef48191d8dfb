"""What packet security costs: processor time per packet, by suite and size, sealing and opening.

    python -m bench.security [--seconds 0.2] [--sizes 64,1354,60000] [--suite aes256-gcm] [--json]

One thread, no network: the best of five rounds, in microseconds of its processor time, so that a busy machine disturbs
little. 1354 bytes are a full packet (netmtu 1500 less what two headers and the envelope take) in its header.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable

from services.totem.security.packets import PacketSecurity
from services.totem.security.suites import SUITES, Suite

ROUNDS = 5


def pair(suite: Suite) -> tuple[PacketSecurity, PacketSecurity]:
    """Two nodes that know each other."""
    one, two = (
        PacketSecurity(
            suite, bytes(range(256)), "bench", node, frozenset({1, 2}), bytes([node]) * 16, lambda: bytes(16)
        )
        for node in (1, 2)
    )
    two.open(one.seal(b"hello"), "one", 0)
    for sender, receiver in ((two, one), (one, two), (two, one)):
        for reply in sender.take_replies():
            receiver.open(reply.datagram, "", 0)
    return one, two


def best_us(call: Callable[[list[bytes]], None], make: Callable[[], list[bytes]], seconds: float) -> float:
    """Microseconds per item, of the best round."""
    rounds = []
    for _ in range(ROUNDS):
        spent_ns = done = 0
        while spent_ns < seconds * 1e9 / ROUNDS:
            items = make()
            began_ns = time.thread_time_ns()
            call(items)
            spent_ns += time.thread_time_ns() - began_ns
            done += len(items)
        rounds.append(spent_ns / done / 1000)
    return min(rounds)


def measure(suite: Suite, size: int, seconds: float) -> dict[str, object]:
    """One row of the table."""
    one, two = pair(suite)
    frames = [b"\x70\xc0\x03\x01" + bytes(max(0, size - 4))] * max(1, min(500, 2_000_000 // size))

    def seal(items: list[bytes]) -> None:
        for frame in items:
            one.seal(frame)

    def open_(items: list[bytes]) -> None:
        for datagram in items:
            two.open(datagram, "one", 0)

    row: dict[str, object] = {"suite": suite.name, "size": size, "overhead": len(one.seal(frames[0])) - len(frames[0])}
    row["seal_us"] = round(best_us(seal, lambda: frames, seconds), 2)
    row["open_us"] = round(best_us(open_, lambda: [one.seal(frame) for frame in frames], seconds), 2)
    refused = sum(two.counters[name] for name in ("replayed", "wrong_key"))
    if refused:
        raise SystemExit(f"{suite.name}: {refused} packets were refused")
    return row


def main(arguments: Iterable[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.2, help="time for each number (default: %(default)s)")
    parser.add_argument("--sizes", default="64,1354,60000", help="bytes of the packets (default: %(default)s)")
    parser.add_argument("--suite", help="only the suites whose name begins so")
    parser.add_argument("--json", action="store_true", help="one JSON list")
    options = parser.parse_args(None if arguments is None else list(arguments))
    suites = [suite for suite in SUITES.values() if suite.name.startswith(options.suite or "")]
    rows = [measure(suite, int(size), options.seconds) for suite in suites for size in options.sizes.split(",")]
    if options.json:
        print(json.dumps(rows))
        return 0
    print(f"{'suite':<15} {'bytes':>6} {'longer by':>9} {'seal us':>8} {'open us':>8}")
    for row in rows:
        print("{suite:<15} {size:>6} {overhead:>9} {seal_us:>8} {open_us:>8}".format(**row))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
