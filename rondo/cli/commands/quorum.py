"""`rondo quorum`: show votes and quorum, change votes, or watch."""

import argparse
import json
from typing import Any

from rondo._client.control import Control
from rondo.cli._control import ANSWER_TIMEOUT_S, add_place, asking
from rondo.cli.output import CommandError, Parser, print_json
from rondo.protocol.control_gateway import Op

HELP = "show votes and quorum, change or watch them"
EXAMPLE = "rondo quorum --check"
SHOWN = ("quorum", "expected_votes", "nodelist")
FLAG_NAMES = {
    "two_node": "2Node",
    "quorate": "Quorate",
    "wait_for_all": "WaitForAll",
    "last_man_standing": "LastManStanding",
    "auto_tie_breaker": "AutoTieBreaker",
    "allow_downscale": "AllowDownscale",
}


def add_arguments(parser: Parser) -> None:
    parser.add_argument("--check", action="store_true", help="exit with 1 unless this node is quorate")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_place(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    expected = commands.add_parser(
        "expected", help="set the expected votes of the cluster", epilog="example: rondo quorum expected 3"
    )
    expected.add_argument("votes", metavar="N", type=int, help="1 to 255; refused where quorum would be lost")
    votes = commands.add_parser("votes", help="set a node's votes", epilog="example: rondo quorum votes 2 0")
    votes.add_argument("node", metavar="NODE", type=int, help="the node's identifier")
    votes.add_argument("votes", metavar="N", type=int, help="0 to 255; refused where quorum would be lost")
    cancel = commands.add_parser(
        "cancel-wait-for-all",
        help="have all nodes stop waiting for those that were not there yet",
        epilog="example: rondo quorum cancel-wait-for-all",
    )
    watch = commands.add_parser(
        "watch", help="print a line for each change", epilog="example: rondo quorum watch --json"
    )
    # As an option of both parsers it may come before or after the sub-command's name.
    watch.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON, one object a line")
    for command in (expected, votes, cancel, watch):
        for option in ("--socket", "--run-dir"):
            command.add_argument(option, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    with asking(arguments) as control:
        if arguments.command is None:
            return _show(control, arguments)
        if arguments.command == "watch":
            return _watch(control, arguments)
        if arguments.command == "expected":
            control.ask(Op.SET_EXPECTED, votes=arguments.votes, timeout=ANSWER_TIMEOUT_S)
        elif arguments.command == "votes":
            control.ask(Op.SET_VOTES, node=arguments.node, votes=arguments.votes, timeout=ANSWER_TIMEOUT_S)
        else:
            control.ask(Op.CANCEL_WAIT_FOR_ALL, timeout=ANSWER_TIMEOUT_S)
    return 0


def _show(control: Control, arguments: argparse.Namespace) -> int:
    status = control.ask(Op.QUORUM, timeout=ANSWER_TIMEOUT_S)
    if arguments.json:
        print_json(status)
    else:
        print("\n".join(_lines(status)))
    return 1 if arguments.check and not status["quorate"] else 0


def _lines(status: dict[str, Any]) -> list[str]:
    ring = status["ring"]
    lines = [
        f"Provider:          {status['provider'] or 'none: every node counts as quorate'}",
        f"Node:              {status['node']}",
        f"Ring:              {ring['representative']}.{ring['sequence']:x}",
        f"Quorate:           {'yes' if status['quorate'] else 'no'}",
    ]
    if status["provider"] is None:
        return lines
    blocked = "" if status["quorate"] else " (activity blocked)"
    lines += [
        f"Expected votes:    {status['expected_votes']}",
        f"Highest expected:  {status['highest_expected']}",
        f"Total votes:       {status['total_votes']}",
        f"Quorum:            {status['quorum']}{blocked}",
        f"Flags:             {' '.join(FLAG_NAMES.get(flag, flag) for flag in status['flags'])}",
        "",
        "      NODE  VOTES  EXPECTED  STATE    NAME",
    ]
    for node in status["nodes"]:
        own = " (this node)" if node["node"] == status["node"] else ""
        columns = f"{node['node']:>10}  {node['votes']:>5}  {node['expected_votes']:>8}  {node['state']:<7}"
        lines.append(f"{columns}  {node['name']}{own}".rstrip())
    return lines


def _watch(control: Control, arguments: argparse.Namespace) -> int:
    watch = control.watch("quorum")
    try:
        while True:
            events = watch.next()
            if events is None:
                raise CommandError("there were more changes than the node keeps; see `rondo quorum`, and watch again")
            for event in events:
                if event["event"] in SHOWN:
                    print(json.dumps(_shown(event)) if arguments.json else _line(event), flush=True)
    except KeyboardInterrupt:
        return 0
    finally:
        watch.close()


def _shown(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in ("number", "position")}


def _line(event: dict[str, Any]) -> str:
    if event["event"] == "expected_votes":
        return f"expected votes: {event['expected_votes']}"
    ring, members = event["ring"], " ".join(map(str, event["members"]))
    where = f"ring {ring['representative']}.{ring['sequence']:x}, members: {members}"
    if event["event"] == "quorum":
        return f"{'quorate' if event['quorate'] else 'not quorate'}; {where}"
    changes = [f"+{node}" for node in event["joined"]] + [f"-{node}" for node in event["left"]]
    return " ".join([*changes, where])
