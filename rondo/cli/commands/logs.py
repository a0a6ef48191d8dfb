"""`rondo logs`: the logs of this node's processes, merged by time, or of one process."""

import argparse
import time
from pathlib import Path

from rondo import paths
from rondo.cli.numbers import LINES_MAX, whole
from rondo.cli.output import CommandError, Parser
from rondo.node.supervision import SERVICES

HELP = "show the logs of this node's processes"
EXAMPLE = "rondo logs totem -f"
LOOK_SECONDS = 0.25
SOURCES = (*SERVICES, "supervisord")


def add_arguments(parser: Parser) -> None:
    parser.add_argument("service", nargs="?", choices=SOURCES, metavar="SERVICE", help=", ".join(SOURCES))
    parser.add_argument("-f", "--follow", action="store_true", help="also print what follows, until Ctrl-C")
    parser.add_argument(
        "-n", "--lines", type=whole("a number of lines", 0, LINES_MAX), metavar="N",
        help="only the last N of what is there",
    )  # fmt: skip
    parser.add_argument("--reopen", action="store_true", help="only have all processes open their log files anew")
    parser.add_argument("--run-dir", metavar="D", help="the node's run directory (default: $RONDO_RUN_DIR)")


def run(arguments: argparse.Namespace) -> int:
    from rondo.node.supervision.logfiles import MergedLog, configured_files, log_files

    run_dir = paths.run_dir(arguments.run_dir)
    if arguments.reopen:
        return _reopen(run_dir)
    if not (run_dir / "log").is_dir():
        raise CommandError(f"{run_dir}: no node has run here; name its run directory with --run-dir")
    named = [arguments.service] if arguments.service in SERVICES else [] if arguments.service else SERVICES
    log = MergedLog(log_files(run_dir, arguments.service), configured_files(run_dir, named))
    lines = log.read()
    if arguments.lines is not None:
        lines = lines[max(0, len(lines) - arguments.lines) :]
    while True:
        for line in lines:
            print(line.text if arguments.service else f"{line.source:<11} {line.text}")
        if not arguments.follow:
            return 0
        # Flush before waiting; this also notices a closed pipe.
        print(end="", flush=True)
        time.sleep(LOOK_SECONDS)
        lines = log.read()


def _reopen(run_dir: Path) -> int:
    """Ask each service directly, so that it works without a complete node. Raises CommandError."""
    from rondo.ipc.control import ControlError, ask

    found = [name for name in SERVICES if (run_dir / f"{name}.ctl").exists()]
    if not found:
        raise CommandError(f"{run_dir}: no node runs here; name its run directory with --run-dir")
    failed = []
    for name in found:
        try:
            ask(run_dir, name, "reopen_logs")
        except ControlError as error:
            failed.append(str(error))
    if failed:
        raise CommandError("; ".join(failed))
    return 0
