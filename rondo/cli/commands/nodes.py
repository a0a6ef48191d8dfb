"""`rondo nodes`: the nodes of the configuration and of the ring, and the links to them."""

import argparse
import time
from typing import Any

from rondo.cli._control import ANSWER_TIMEOUT_S, add_place, asking
from rondo.cli.output import Parser, print_json
from rondo.node.log_formats import iso_time
from rondo.protocol.control_gateway import Op

HELP = "show the nodes and the links to them"
EXAMPLE = "rondo nodes --json"


def add_arguments(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_place(parser)


def run(arguments: argparse.Namespace) -> int:
    with asking(arguments) as control:
        nodes = control.ask(Op.NODES, timeout=ANSWER_TIMEOUT_S)
    if arguments.json:
        print_json(nodes)
    else:
        print("      NODE  MEMBER  SOFTWARE       NAME / ADDRESSES")
        for node in nodes:
            print("\n".join(_lines(node)))
    return 0


def _lines(node: dict[str, Any]) -> list[str]:
    who = " ".join([node["name"], *node["addresses"]]).strip()
    member = "yes" if node["member"] else "no"
    lines = [f"{node['node']:>10}  {member:<6}  {node['software'] or '-':<13}  {who}"]
    for link in node["links"]:
        state = "up" if link["up"] else "DOWN"
        since = iso_time(time.time() - link["since_ms"] / 1000)
        indent = " " * 12
        lines.append(
            f"{indent}link {link['link']}: {link['local']} to {link['remote']} port {link['port']} is {state} since "
            f"{since}, MTU {link['mtu']}, latency {link['latency_us']} us"
        )
        lines.append(
            f"{indent}    packets {link['tx_packets']} sent, {link['rx_packets']} received; errors {link['tx_errors']} "
            f"and {link['rx_errors']}; went up {link['ups']} times, down {link['downs']}"
        )
    return lines
