"""`rondo report`: an archive of this node, or of all, for a bug report, without keys and secrets."""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rondo import paths
from rondo.cli.output import CommandError, Parser, print_warning

if TYPE_CHECKING:
    from rondo.report.contents import Entry

HELP = "write an archive for a bug report: logs, configuration, status, counters; no keys or secrets"
EXAMPLE = "rondo report --all"
STANDARD_OUTPUT = Path("-")


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path,
        help="- is standard output (default: rondo-report-DATE-TIME.tar.gz in this directory)",
    )  # fmt: skip
    parser.add_argument("--all", action="store_true", help="with the reports of all nodes; --via says how to get them")
    parser.add_argument(
        "--via", metavar="COMMAND",
        help="what is run for each other node and writes its report; {address}, {node} and {name} are replaced, no "
        "shell sees it (default: ssh -o BatchMode=yes -o ConnectTimeout=5 {address} rondo report -o -)",
    )  # fmt: skip
    parser.add_argument("--run-dir", metavar="D", help="the node's run directory (default: $RONDO_RUN_DIR)")


def run(arguments: argparse.Namespace) -> int:
    from rondo.cli.progress import Progress

    run_dir = paths.run_dir(arguments.run_dir)
    if not run_dir.is_dir():
        raise CommandError(f"{run_dir}: no node has run here; name its run directory with --run-dir")
    if arguments.via is not None:
        _check_via(arguments)
    path = arguments.output or Path(time.strftime("rondo-report-%Y%m%d-%H%M%S.tar.gz"))
    missing: list[str] = []
    with Progress("asking the processes") as progress:
        names = _write(path, _shown(_entries(arguments, run_dir, progress.step, missing), progress.step))
    for line in missing:
        print_warning(line)
    if path != STANDARD_OUTPUT:
        size = path.stat().st_size
        print(
            f"{path}: {len(names)} files, {size // 1024} KiB; keys are left out, but look at it before you publish it"
        )
    return 0


def _check_via(arguments: argparse.Namespace) -> None:
    from rondo.report.others import Other, command_for

    if not arguments.all:
        raise CommandError("--via says how to get at other nodes; give --all with it")
    try:
        command_for(arguments.via, Other(1, "n", "a"))
    except ValueError as error:
        raise CommandError(f"--via: {error}") from None


def _entries(
    arguments: argparse.Namespace, run_dir: Path, told: Callable[[str], None], missing: list[str]
) -> "Iterator[Entry]":
    from rondo.report import all_nodes, contents
    from rondo.report.others import VIA

    if arguments.all:
        return all_nodes.entries(run_dir, arguments.via or VIA, told, missing)
    return contents.entries(run_dir)


def _shown(entries: "Iterable[Entry]", told: Callable[[str], None]) -> "Iterator[Entry]":
    for name, data in entries:
        told(f"have {name}")
        yield name, data


def _write(path: Path, entries: "Iterable[Entry]") -> list[str]:
    from rondo.report.archive import write, write_to

    if path == STANDARD_OUTPUT:
        if sys.stdout.isatty():
            raise CommandError("an archive is nothing for a terminal; name a file with -o, or lead it into a pipe")
        names = write_to(sys.stdout.buffer, "rondo-report", entries)
        sys.stdout.flush()
        return names
    try:
        return write(path, entries)
    except FileExistsError:
        raise CommandError(f"{path}: exists already; name another file with -o") from None
    except OSError as error:
        why = error.strerror or str(error)
        raise CommandError(f"{path}: the archive cannot be written: {why}; name another file with -o") from None
