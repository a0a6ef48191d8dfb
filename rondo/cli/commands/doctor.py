"""`rondo doctor`: finds what keeps this node from working now or soon, and names the remedy. It changes nothing."""

import argparse
from typing import TYPE_CHECKING

from rondo import paths
from rondo.cli.output import Parser, print_json

if TYPE_CHECKING:
    from rondo.doctor.finding import Finding

HELP = "look for what is wrong with this node and its machine, and how to mend it; exit 1 on any fault"
EXAMPLE = "rondo doctor"


def add_arguments(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        help="look at this configuration (default: what the node runs with, else as for `rondo start`)",
    )
    parser.add_argument("--nodeid", type=int, metavar="N", help="which of the nodes to take this machine for")
    parser.add_argument("--run-dir", metavar="D", help="the node's run directory (default: $RONDO_RUN_DIR)")


def run(arguments: argparse.Namespace) -> int:
    from rondo.doctor.examine import examine
    from rondo.doctor.finding import Level
    from rondo.doctor.subject import subject_of

    run_dir = paths.run_dir(arguments.run_dir)
    found = examine(subject_of(run_dir, arguments.config, arguments.nodeid))
    if arguments.json:
        print_json([finding.as_json() for finding in found])
    else:
        print("\n".join(line for finding in found for line in lines(finding)))
    return 1 if any(finding.level is Level.FAULT for finding in found) else 0


def lines(finding: "Finding") -> list[str]:
    """A finding as text: what and where, and the remedy in a second line."""
    where = f"  ({finding.where})" if finding.where else ""
    mend = [f"                     mend: {finding.mend}"] if finding.mend else []
    return [f"{finding.level:<5}  {finding.check:<13} {finding.what}{where}", *mend]
