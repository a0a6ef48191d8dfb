"""`rondo kill`: make a node leave the ring and stop."""

import argparse

from rondo.cli._control import ANSWER_TIMEOUT_S, add_place, asking
from rondo.cli.output import Parser, print_json
from rondo.protocol.control_gateway import Op

HELP = "make a node leave the ring and stop"
EXAMPLE = 'rondo kill 3 --reason "its disk is full"'


def add_arguments(parser: Parser) -> None:
    parser.add_argument("node", metavar="NODE", type=int, help="the node's identifier; C nodes obey, too")
    parser.add_argument("--reason", metavar="TEXT", default="", help="for the logs of all nodes; at most 255 bytes")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_place(parser)


def run(arguments: argparse.Namespace) -> int:
    with asking(arguments) as control:
        control.ask(
            Op.KILL, node=arguments.node, reason=arguments.reason, timeout=ANSWER_TIMEOUT_S, may_repeat=False
        )  # fmt: skip
    if arguments.json:
        print_json({"node": arguments.node, "reason": arguments.reason})
    else:
        print(f"node {arguments.node} is told to leave")
    return 0
