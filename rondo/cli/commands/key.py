"""`rondo key`: change the key of a cluster while it runs, without losing a packet.

There are three steps: install the new key, use it, remove the old one. Each step must be done on all nodes before the
next one begins. A step that would cut a node off is refused. The change survives restarts. The key file is not changed;
the command tells when it should be replaced.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rondo import paths
from rondo.cli.numbers import seconds
from rondo.cli.output import CommandError, Parser, print_json, print_warning
from rondo.config.key import KeyFileError, fingerprint, read_key

HELP = "change the key of the cluster while it runs"
EXAMPLE = "rondo key install /root/authkey.new"
ASK_SECONDS = 5.0
PAUSE_SECONDS = 0.1
TIMEOUT_SECONDS_MAX = 3600.0

STEPS = {
    "install": "take packets under another key too",
    "use": "seal this node's packets with another key",
    "remove": "refuse packets under a key",
}


def add_arguments(parser: Parser) -> None:
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    status = commands.add_parser(
        "status", aliases=["list"], help="show the keys, and which nodes have and use them",
        epilog="example: rondo key status",
    )  # fmt: skip
    made = [status]
    for name, text in STEPS.items():
        step = commands.add_parser(name, help=text, epilog=f"example: rondo key {name} /root/authkey.new")
        made.append(step)
        what = "file with the key" if name == "install" else "file with the key, or its fingerprint or the start of it"
        step.add_argument("key", metavar="KEY", help=what)
        if name != "install":
            step.add_argument("--force", action="store_true", help="also if that cuts other nodes off")
            step.add_argument(
                "--timeout", type=seconds(0, TIMEOUT_SECONDS_MAX), default=5.0, metavar="S",
                help="wait so long for other nodes to tell their keys (default: %(default)s)",
            )  # fmt: skip
    for each in made:
        each.add_argument("--json", action="store_true", help="print JSON")
        each.add_argument("--run-dir", metavar="D", help="the node's run directory (default: $RONDO_RUN_DIR)")


def run(arguments: argparse.Namespace) -> int:
    from rondo.ipc.control import ControlError

    try:
        if arguments.command in STEPS:
            return _step(arguments)
        found = _ask(arguments, "status")
    except ControlError as error:
        raise CommandError(str(error)) from None
    if arguments.json:
        print_json(found)
    else:
        print("\n".join(_lines(found)))
    return 0


def _ask(arguments: argparse.Namespace, do: str, **more: Any) -> dict[str, Any]:
    from rondo.ipc.control import ask

    answer = ask(paths.run_dir(arguments.run_dir), "totem", "key", ASK_SECONDS, do=do, **more)
    answer.pop("ok", None)
    return answer


def _step(arguments: argparse.Namespace) -> int:
    """Do one of the three steps on this node."""
    if arguments.command == "install":
        done = _ask(arguments, "install", key=_read(Path(arguments.key)))
    else:
        path = Path(arguments.key)
        name = fingerprint(_read(path)) if path.is_file() else arguments.key
        if not arguments.force:
            _wait(arguments, lambda found: _agreed(found, arguments.command, name), arguments.timeout)
        done = _ask(arguments, arguments.command, key=name, force=arguments.force)
    found = _wait(arguments, lambda found: found["stored"] == "yes", ASK_SECONDS)
    if found["stored"] != "yes" or found["store_error"]:
        why = found["store_error"] or "the disk is slow"
        raise CommandError(f"done, but not stored ({why}): a restart would undo it; see system.state_dir")
    _compare_with_file(found)
    verb = {"install": "is installed", "use": "is in use", "remove": "is removed"}[arguments.command]
    if arguments.json:
        print_json(done | found)
    else:
        print(f"the key {done['fingerprint']} {verb} on this node")
    return 0


def _agreed(found: dict[str, Any], step: str, name: str) -> bool:
    """True if waiting gains nothing: all nodes have reported what permits this step, or there is no such key."""
    named = [key for key in found["keys"] if key["fingerprint"].replace(":", "").startswith(name.replace(":", ""))]
    if len(named) != 1 or (step == "remove" and named[0]["in_use"]):
        return True
    if found["nodes_silent"]:
        return False
    return not named[0]["nodes_using"] if step == "remove" else set(found["nodes"]) <= set(named[0]["nodes_having"])


def _wait(arguments: argparse.Namespace, ready: Callable[[dict[str, Any]], bool], seconds: float) -> dict[str, Any]:
    """The status when it is `ready`, or when the time is over."""
    from rondo.cli.progress import Progress

    end = time.monotonic() + seconds
    with Progress("asking for the keys") as progress:
        found = _ask(arguments, "status")
        while not ready(found) and time.monotonic() < end:
            silent = " ".join(map(str, found["nodes_silent"]))
            progress.step(f"waiting for the keys of nodes {silent}" if silent else "waiting until it is stored")
            time.sleep(PAUSE_SECONDS)
            found = _ask(arguments, "status")
    return found


def _read(path: Path) -> bytes:
    try:
        return read_key(path)
    except KeyFileError as error:
        raise CommandError(str(error)) from None


def _compare_with_file(found: dict[str, Any]) -> None:
    """Warn if a node with nothing but the key file would start with another key."""
    if not found["key_file"] or len(found["keys"]) > 1:
        return
    try:
        of_file = fingerprint(read_key(Path(found["key_file"])))
    except KeyFileError:
        return  # this user may not read it
    in_use = found["keys"][0]["fingerprint"]
    if of_file != in_use:
        print_warning(
            f"{found['key_file']} still holds the key {of_file}; put {in_use} there on all nodes, "
            "for a node that loses its state directory, and new ones"
        )


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [f"{found['suite']}, key file {found['key_file'] or '-'}", f"{'FINGERPRINT':<40} {'HERE':<7} OTHER NODES"]
    for key in found["keys"]:
        having = ", ".join(
            f"{node} uses it" if node in key["nodes_using"] else f"{node} has it" for node in key["nodes_having"]
        )
        lines.append(f"{key['fingerprint']:<40} {'in use' if key['in_use'] else 'valid':<7} {having or '-'}")
    if found["nodes_silent"]:
        lines.append("told nothing lately: nodes " + " ".join(map(str, found["nodes_silent"])))
    if found["store_error"]:
        lines.append(f"not stored: {found['store_error']}")
    return lines
