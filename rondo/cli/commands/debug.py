"""`rondo debug`: query one process of this node for its state and counters, or change its log level while it runs."""

import argparse
from typing import Any

from rondo import paths
from rondo.cli.output import CommandError, Parser, print_json
from rondo.node.supervision import SERVICES

HELP = "ask one process for its state and counters, change its log level"
EXAMPLE = "rondo debug totem --log-level debug"
ASK_SECONDS = 2.0


def add_arguments(parser: Parser) -> None:
    parser.add_argument("service", choices=SERVICES, metavar="SERVICE", help=", ".join(SERVICES))
    parser.add_argument("--log-level", metavar="L", help="log from this level on: debug info notice warning err ...")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--run-dir", metavar="D", help="the node's run directory (default: $RONDO_RUN_DIR)")


def run(arguments: argparse.Namespace) -> int:
    from rondo.ipc.control import ControlError, ask

    run_dir = paths.run_dir(arguments.run_dir)
    try:
        if arguments.log_level is not None:
            ask(run_dir, arguments.service, "log_level", ASK_SECONDS, level=arguments.log_level)
        answer = ask(run_dir, arguments.service, "status", ASK_SECONDS)
    except ControlError as error:
        raise CommandError(str(error)) from None
    answer.pop("ok", None)
    if arguments.json:
        print_json(answer)
    else:
        print("\n".join(lines(answer)))
    return 0


def lines(value: Any, name: str = "") -> list[str]:
    """Nested values as `outer.inner: value`, one a line."""
    if isinstance(value, dict) and value:
        return [line for key, item in value.items() for line in lines(item, f"{name}.{key}" if name else str(key))]
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [line for index, item in enumerate(value) for line in lines(item, f"{name}[{index}]")]
    shown = " ".join(map(str, value)) if isinstance(value, list) else value
    return [f"{name}: {'-' if shown in (None, '', {}) else shown}"]
