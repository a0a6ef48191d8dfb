"""`rondo demo`: shows Rondo's purpose on this machine, without root: an application that survives the death of a
node."""

import argparse
import signal

from rondo.cli.interrupts import interrupt_on
from rondo.cli.output import CommandError, Parser

HELP = "run a cluster on this machine, split it, kill a node, and prove that nothing is lost"
EXAMPLE = "rondo demo --nodes 3 --seconds 9"
NODES_MAX = 16


def add_arguments(parser: Parser) -> None:
    parser.add_argument("--nodes", type=_nodes, default=3, metavar="N", help="how many nodes (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=_seconds, default=9.0, metavar="S", help="how long transfers flow (default: %(default)g)"
    )
    parser.add_argument(
        "--no-namespace", action="store_true",
        help="use this machine's network, which cannot be cut: nodes are stopped in place of the split",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    from rondo.demo.network import enter_own
    from rondo.demo.story import Plan, Story

    why_network_is_whole = "--no-namespace" if arguments.no_namespace else enter_own()
    interrupt_on(signal.SIGTERM, signal.SIGHUP)  # as after Ctrl-C, everything is stopped and removed
    if not Story(Plan(arguments.nodes, arguments.seconds, why_network_is_whole)).run():
        raise CommandError("the ledgers are not what they must be; see above what is broken")
    return 0


def _nodes(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 3 and 2 <= int(text) <= NODES_MAX):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of nodes from 2 to {NODES_MAX}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds from 1 to 3600")
    return seconds
