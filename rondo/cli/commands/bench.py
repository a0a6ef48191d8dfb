"""`rondo bench`: measures this ring with one sender that counts its own deliveries."""

import argparse
import os
import threading
import time
from typing import Any

import rondo
from rondo import paths
from rondo.cli.ahead import Ahead
from rondo.cli.connecting import connect
from rondo.cli.output import CommandError, Parser, print_json

HELP = "measure throughput and latency of the ring"
EXAMPLE = "rondo bench throughput --size 1024 --seconds 5 --json"
DELIVERY_TIMEOUT_S = 30.0
BYTES_PER_MEGABYTE = 1_000_000
WARM_UP_MESSAGES = 20
SENT_BETWEEN_CLOCKS = 16
AHEAD_BYTES_MAX = 2 * 1024 * 1024
"""Half of it measures a fifth less; more gains nothing."""


def add_arguments(parser: Parser) -> None:
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    throughput = commands.add_parser(
        "throughput",
        help="send as fast as flow control lets, and count deliveries",
        epilog="example: rondo bench throughput --size 1024 --seconds 5 --json",
    )
    throughput.add_argument("--seconds", type=_positive_seconds, default=5.0, metavar="S", help="default: %(default)s")
    latency = commands.add_parser(
        "latency",
        help="send one message, wait for its delivery, again",
        epilog="example: rondo bench latency --size 64 --count 1000 --gap-ms 20",
    )
    latency.add_argument("--count", type=_positive, default=1000, metavar="N", help="default: %(default)s")
    latency.add_argument("--gap-ms", type=_milliseconds, default=0.0, metavar="G", help="pause between two messages")
    for command in (throughput, latency):
        command.add_argument("--size", type=_size, default=64, metavar="B", help="bytes of a message (default: 64)")
        command.add_argument("--json", action="store_true", help="print JSON")
        command.add_argument("--socket", metavar="ENDPOINT", help="what to connect to (RONDO_SOCKET)")
        command.add_argument("--run-dir", metavar="D", help="run directory of the node (RONDO_RUN_DIR)")


def run(arguments: argparse.Namespace) -> int:
    endpoint = paths.client_socket(arguments.socket, arguments.run_dir)
    try:
        with connect(endpoint) as cluster:
            group = cluster.cpg.join(f"rondo-bench-{cluster.node_id}-{os.getpid()}")
            if arguments.command == "throughput":
                result = measure_throughput(group, arguments.size, arguments.seconds)
                text = "{messages} messages of {size} B in {seconds:.2f} s: {messages_per_second:.0f}/s, "
                text += "{megabytes_per_second:.1f} MB/s"
            else:
                result = measure_latency(group, arguments.size, arguments.count, arguments.gap_ms)
                text = "{count} messages: p50 {p50_us:.0f} us, p99 {p99_us:.0f} us, max {max_us:.0f} us"
            group.leave()
    except rondo.Error as error:
        raise CommandError(str(error)) from None
    if arguments.json:
        print_json(result)
    else:
        print(text.format(**result))
    return 0


def measure_throughput(group: rondo.Group, size: int, seconds: float) -> dict[str, Any]:
    """Send for `seconds` with many messages on their way. The clock stops with the last delivery."""
    stop_at = time.perf_counter() + seconds
    total: list[int] = []
    failed: list[rondo.Error] = []
    ahead = Ahead(AHEAD_BYTES_MAX)
    at_once = max(1, min(SENT_BETWEEN_CLOCKS, AHEAD_BYTES_MAX // max(1, size)))

    def send() -> None:
        data = bytes(size)
        sent = 0
        try:
            while time.perf_counter() < stop_at:
                ahead.sending(size * at_once)
                for _ in range(at_once):
                    group.mcast(data)
                sent += at_once
        except rondo.Error as error:
            failed.append(error)
        total.append(sent)

    began = time.perf_counter()
    threading.Thread(target=send, daemon=True).start()
    received = 0
    try:
        while not failed and not (total and received >= total[0]):
            event = group.poll(timeout=DELIVERY_TIMEOUT_S)
            if isinstance(event, rondo.Message):
                received += 1
                if received % at_once == 0:
                    ahead.took(size * at_once)
            else:
                _stop_if_disturbed(event)
    finally:
        ahead.over()
    elapsed = time.perf_counter() - began
    if failed:
        raise failed[0]
    return {
        "size": size,
        "seconds": elapsed,
        "messages": received,
        "messages_per_second": received / elapsed,
        "megabytes_per_second": received * size / elapsed / BYTES_PER_MEGABYTE,
    }


def measure_latency(group: rondo.Group, size: int, count: int, gap_ms: float) -> dict[str, Any]:
    """Measure from the call of mcast to the delivery, one message at a time."""
    data = bytes(size)
    times_us: list[float] = []
    for i in range(count + WARM_UP_MESSAGES):
        began = time.perf_counter()
        group.mcast(data)
        event = group.poll(DELIVERY_TIMEOUT_S)
        while not isinstance(event, rondo.Message):
            _stop_if_disturbed(event)
            event = group.poll(DELIVERY_TIMEOUT_S)
        if i >= WARM_UP_MESSAGES:
            times_us.append((time.perf_counter() - began) * 1e6)
        if gap_ms:
            time.sleep(gap_ms / 1000)
    times_us.sort()
    return {
        "p50_us": times_us[count // 2],
        "p99_us": times_us[min(count - 1, count * 99 // 100)],
        "max_us": times_us[-1],
        "count": count,
    }


def _stop_if_disturbed(event: rondo.Event | None) -> None:
    if event is None:
        raise CommandError(f"a message was not delivered within {DELIVERY_TIMEOUT_S:g} s")
    if isinstance(event, rondo.Disconnected):
        raise CommandError(f"disconnected while measuring: {event.reason}")


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive whole number")
    return int(text)


def _size(text: str) -> int:
    return 0 if text == "0" else _positive(text)


def _milliseconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of milliseconds")
    return value


def _positive_seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number of seconds")
    return value
