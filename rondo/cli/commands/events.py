"""`rondo events`: the events of this node in the order of time, under stable names."""

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING

from rondo import paths
from rondo.cli.numbers import LINES_MAX, whole
from rondo.cli.output import CommandError, Parser
from rondo.node.supervision import SERVICES

if TYPE_CHECKING:
    from rondo.timeline.events import Event

HELP = "show what happened to this node: rings, quorum, links, processes, applications"
EXAMPLE = "rondo events -f --json"
LOOK_SECONDS = 0.25


def add_arguments(parser: Parser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes, until Ctrl-C")
    parser.add_argument(
        "-n", "--lines", type=whole("a number of lines", 0, LINES_MAX), metavar="N",
        help="only the last N of what is there",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--run-dir", metavar="D", help="the node's run directory (default: $RONDO_RUN_DIR)")


def run(arguments: argparse.Namespace) -> int:
    from rondo.node.supervision.logfiles import MergedLog, configured_files, log_files
    from rondo.timeline.events import event_of

    run_dir = paths.run_dir(arguments.run_dir)
    if not (run_dir / "log").is_dir():
        raise CommandError(f"{run_dir}: no node has run here; name its run directory with --run-dir")
    log = MergedLog(log_files(run_dir), configured_files(run_dir, SERVICES))
    found = [event for line in log.read() if (event := event_of(line))]
    if arguments.lines is not None:
        found = found[max(0, len(found) - arguments.lines) :]
    while True:
        for event in found:
            print(json.dumps(event.as_json(), ensure_ascii=False) if arguments.json else shown(event))
        if not arguments.follow:
            return 0
        sys.stdout.flush()
        time.sleep(LOOK_SECONDS)
        found = [event for line in log.read() if (event := event_of(line))]


def shown(event: "Event") -> str:
    """An event for people."""
    return f"{event.as_json()['time']}  {event.name:<22} {event.text}"
