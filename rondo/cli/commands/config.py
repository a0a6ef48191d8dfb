"""`rondo config check` and `rondo config show`: check corosync.conf, and show its effect on this machine."""

import argparse
from typing import TYPE_CHECKING

from rondo.cli.output import Parser, print_json, print_warning

if TYPE_CHECKING:
    from rondo.config import Loaded, NodeConfig

HELP = "check the configuration, or show what is in force"
EXAMPLE = "rondo config check -c /etc/corosync/corosync.conf"

NODE_ID_MAX = 2**32 - 1


def add_arguments(parser: Parser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="check|show")
    check = actions.add_parser(
        "check", help="verify it, with file and line for each fault", epilog="example: rondo config check -c new.conf"
    )
    show = actions.add_parser(
        "show",
        help="show what is in force, derived timers included",
        epilog="example: rondo config show --json",
    )
    for action in (check, show):
        action.add_argument(
            "-c",
            "--config",
            metavar="FILE",
            help="the configuration (default: $COROSYNC_MAIN_CONFIG_FILE, else /etc/corosync/corosync.conf)",
        )
        action.add_argument("--nodeid", type=_node_id, metavar="N", help="which of the nodes to take this machine for")
    show.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    # Imported here, so that `rondo config --help` does without pydantic.
    from rondo.config import load

    loaded = load(arguments.config, node_id=arguments.nodeid)
    for warning in loaded.warnings:
        print_warning(str(warning))
    node, is_ours = _resolved(loaded)
    if arguments.action == "check":
        count = len(loaded.warnings) + (_warn_of_machine(loaded, node) if is_ours else 0)
        warnings = f", {count} {'warning' if count == 1 else 'warnings'}" if count else ""
        print(f"{loaded.file or 'no configuration file, a single node on loopback'}: no errors{warnings}")
        return 0
    _show(loaded, node, as_json=arguments.json)
    return 0


def _warn_of_machine(loaded: "Loaded", node: "NodeConfig") -> int:
    """Warn of what this machine lacks for it. Returns the number of warnings."""
    from rondo.config.checks_machine import check_machine

    lacking = check_machine(loaded, node)
    for warning in lacking:
        print_warning(str(warning))
    return len(lacking)


def _resolved(loaded: "Loaded") -> "tuple[NodeConfig, bool]":
    """The configuration for this machine, and True. If it is none of the nodes: for the first node, with a warning.

    A file can be checked and shown on another machine than the one that it is for.
    """
    from rondo.config.local_node import NotThisMachineError
    from rondo.config.resolver import resolve, resolve_as_first_node

    try:
        return resolve(loaded), True
    except NotThisMachineError as error:
        node = resolve_as_first_node(loaded)
        print_warning(f"{error.faults[0]} (taken for node {node.node_id} here)")
        return node, False


def _show(loaded: "Loaded", node: "NodeConfig", *, as_json: bool) -> None:
    from rondo.config import show

    if as_json:
        print_json(show.as_dict(loaded, node))
    else:
        print(show.as_text(loaded, node))


def _node_id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= NODE_ID_MAX):
        raise argparse.ArgumentTypeError(f"'{text}' is not a node identifier, a number from 1 to {NODE_ID_MAX}")
    return int(text)
