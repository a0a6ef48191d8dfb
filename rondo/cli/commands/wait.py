"""`rondo wait`: return when the ring has exactly this many members."""

import argparse
import time
from typing import Any

from rondo import paths
from rondo.cli.output import CommandError, Parser

HELP = "wait until the ring has so many members"
EXAMPLE = "rondo wait --members 3 --timeout 30"
ASK_SECONDS = 0.05


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--members", type=_count, required=True, metavar="N", help="how many members the ring must have, exactly"
    )
    parser.add_argument("--timeout", type=_seconds, default=30.0, metavar="S", help="seconds (default: %(default)g)")
    parser.add_argument("--run-dir", metavar="D", help="the node's run directory (default: $RONDO_RUN_DIR)")


def run(arguments: argparse.Namespace) -> int:
    from rondo.node.supervision.survey import ask_one, is_in_ring

    run_dir = paths.run_dir(arguments.run_dir)
    deadline = time.monotonic() + arguments.timeout
    seen = None
    while True:
        totem = ask_one(run_dir, "totem", timeout=max(ASK_SECONDS, min(1.0, deadline - time.monotonic())))
        if totem is not None and is_in_ring(totem) and len(totem.get("members", [])) == arguments.members:
            members = "member" if arguments.members == 1 else "members"
            print(f"the ring has {arguments.members} {members}: {' '.join(map(str, totem['members']))}")
            return 0
        # The last query has hardly any time. If nobody answers it, the answer to an earlier one still counts.
        seen = totem or seen
        if time.monotonic() >= deadline:
            raise CommandError(
                f"the ring has not got {arguments.members} members in {arguments.timeout:g} s: {_seen(seen)}"
            )
        time.sleep(ASK_SECONDS)


def _seen(totem: dict[str, Any] | None) -> str:
    if totem is None:
        return "the node does not answer; is it started? (`rondo status`)"
    members = " ".join(map(str, totem.get("members", []))) or "none"
    return f"the node is in state {totem.get('state')}, members: {members}"


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of members")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 1e9:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds")
    return seconds
