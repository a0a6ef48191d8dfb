"""`rondo stop`: leave the ring and stop all processes of this node, also those that a killed supervisord has left."""

import argparse

from rondo import paths
from rondo.cli.output import Parser, print_warning

HELP = "leave the ring cleanly and stop this node"
EXAMPLE = "rondo stop --run-dir /run/rondo"


def add_arguments(parser: Parser) -> None:
    parser.add_argument("--run-dir", metavar="D", help="the node's run directory (default: $RONDO_RUN_DIR)")


def run(arguments: argparse.Namespace) -> int:
    from rondo.node.supervision.halt import halt

    run_dir = paths.run_dir(arguments.run_dir)
    halted = halt(run_dir)
    for name in halted.orphans:
        print_warning(f"{name} was running without supervisord; stopped it too")
    for name in halted.killed:
        print_warning(f"{name} did not stop when asked to and was killed")
    print(f"the node in {run_dir} has stopped" if halted.ran else f"no node runs in {run_dir}")
    return 0
