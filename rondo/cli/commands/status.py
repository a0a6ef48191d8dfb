"""`rondo status`: processes, ring, members, groups and rates of this node. Fails if a process does not run."""

import argparse
import sys
import time

from rondo import paths
from rondo.cli.output import Parser, print_json, print_warning

HELP = "show processes, ring, members, groups and rates of this node; exit 1 if one of its processes does not run"
EXAMPLE = "rondo status --json"
SAMPLE_SECONDS = 0.3


def add_arguments(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--check",
        action="store_true",
        help="print nothing, for scripts and monitoring; exit 0 only if it is in a ring and all processes run",
    )
    parser.add_argument("--run-dir", metavar="D", help="the node's run directory (default: $RONDO_RUN_DIR)")


def run(arguments: argparse.Namespace) -> int:
    from rondo.cli.commands._report import report
    from rondo.node.supervision.survey import is_healthy, not_running, status

    run_dir = paths.run_dir(arguments.run_dir)
    found = status(run_dir)
    if arguments.check:
        return 0 if is_healthy(found) else 1
    if arguments.json:
        print_json(found)
    elif found["state"] == "stopped":
        print(f"no node runs in {run_dir}" + (f"; it stopped: {found['why']}" if found["why"] else ""), file=sys.stderr)
    else:
        started = time.monotonic()
        time.sleep(SAMPLE_SECONDS)
        later = status(run_dir)
        print(report(later, found, time.monotonic() - started))
        found = later
    if found["state"] == "stopped":
        return 1
    lacking = not_running(found)
    for line in lacking if not arguments.json else ():
        print_warning(line)
    return 1 if lacking else 0
