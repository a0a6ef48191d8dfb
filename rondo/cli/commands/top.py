"""`rondo top`: the status of this node, live. On a terminal it stays in place; else one report follows another."""

import argparse
import itertools
import sys
import time

from rondo import paths
from rondo.cli.output import Parser

HELP = "show the status of this node, live"
EXAMPLE = "rondo top --interval 2"
CLEAR = "\x1b[H\x1b[J"
INTERVAL_SECONDS_MIN = 0.1


def add_arguments(parser: Parser) -> None:
    parser.add_argument("--interval", type=float, default=1.0, metavar="S", help="seconds (default: %(default)g)")
    parser.add_argument("--count", type=int, metavar="N", help="end after N reports (default: Ctrl-C ends it)")
    parser.add_argument("--run-dir", metavar="D", help="the node's run directory (default: $RONDO_RUN_DIR)")


def run(arguments: argparse.Namespace) -> int:
    from rondo.cli.commands._report import report
    from rondo.node.log_formats import iso_time
    from rondo.node.supervision.survey import status

    run_dir = paths.run_dir(arguments.run_dir)
    interval = max(INTERVAL_SECONDS_MIN, arguments.interval)
    live = sys.stdout.isatty()
    before, sampled = status(run_dir), time.monotonic()
    try:
        for shown in itertools.count(1):
            time.sleep(interval)
            found, now = status(run_dir), time.monotonic()
            text = report(found, before, now - sampled)
            head = iso_time(time.time())
            print(f"{CLEAR if live else ''}{head}  {text}\n", flush=True)
            before, sampled = found, now
            if shown == arguments.count:
                break
    except KeyboardInterrupt:
        pass  # how one leaves it
    return 0
