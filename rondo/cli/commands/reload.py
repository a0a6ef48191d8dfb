"""`rondo reload`: all nodes read their configuration again, and change together or not at all."""

import argparse

from rondo._client.cfg import RELOAD_TIMEOUT_S
from rondo.cli._control import add_place, asking
from rondo.cli.output import Parser, print_error, print_json
from rondo.cli.progress import Progress
from rondo.protocol.control_gateway import Op

HELP = "have all nodes read corosync.conf anew, and change together or not at all"
EXAMPLE = "rondo reload"


def add_arguments(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_place(parser)


def run(arguments: argparse.Namespace) -> int:
    with asking(arguments) as control, Progress("all nodes read and check their configuration"):
        said = control.ask(Op.RELOAD, timeout=RELOAD_TIMEOUT_S)
    if arguments.json:
        print_json(said)
    elif said["faults"]:
        for each in said["faults"]:
            name = f" ({each['name']})" if each["name"] else ""
            print_error(f"node {each['node']}{name}: {each['fault']}")
        print_error("nothing has changed on any node")
    else:
        print(f"changed on all nodes: {', '.join(said['changed']) or 'nothing'}")
    return 1 if said["faults"] else 0
