"""`rondo report`: an archive of this node for a bug report, without keys and secrets."""

import argparse
import time
from pathlib import Path

from rondo import paths
from rondo.cli.output import CommandError, Parser

HELP = "write an archive of this node for a bug report: logs, configuration, status, counters; no keys or secrets"
EXAMPLE = "rondo report -o report.tar.gz"


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="default: rondo-report-DATE-TIME.tar.gz in this directory"
    )
    parser.add_argument("--run-dir", metavar="D", help="the node's run directory (default: $RONDO_RUN_DIR)")


def run(arguments: argparse.Namespace) -> int:
    from rondo.report.archive import write
    from rondo.report.contents import entries

    run_dir = paths.run_dir(arguments.run_dir)
    if not run_dir.is_dir():
        raise CommandError(f"{run_dir}: no node has run here; name its run directory with --run-dir")
    path = arguments.output or Path(time.strftime("rondo-report-%Y%m%d-%H%M%S.tar.gz"))
    try:
        names = write(path, entries(run_dir))
    except FileExistsError:
        raise CommandError(f"{path}: exists already; name another file with -o") from None
    size = path.stat().st_size
    print(f"{path}: {len(names)} files, {size // 1024} KiB; keys are left out, but look at it before you publish it")
    return 0
