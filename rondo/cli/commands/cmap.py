"""`rondo cmap`: the node's keys; list, get, set, delete, watch."""

import argparse
import base64
import json
from typing import Any

from rondo import cmap
from rondo._client.control import Control, set_arguments, watched
from rondo.cli._control import ANSWER_TIMEOUT_S, add_place, asking
from rondo.cli.output import CommandError, Parser, print_json
from rondo.protocol.control_gateway import Op

HELP = "show, set and watch the node's keys"
EXAMPLE = "rondo cmap list runtime.members."
MAPS = ("icmap", "stats")


def add_arguments(parser: Parser) -> None:
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    listed = commands.add_parser("list", help="list keys", epilog="example: rondo cmap list nodelist. --json")
    listed.add_argument("prefix", metavar="PREFIX", nargs="?", default="", help="only keys that begin with this")
    got = commands.add_parser("get", help="show one key", epilog="example: rondo cmap get totem.cluster_name")
    got.add_argument("key", metavar="KEY")
    put = commands.add_parser("set", help="set a key", epilog="example: rondo cmap set my.key u32 3")
    put.add_argument("key", metavar="KEY")
    put.add_argument("type", metavar="TYPE", choices=sorted(cmap.BY_NAME), help=" ".join(cmap.BY_NAME))
    put.add_argument("value", metavar="VALUE", help="of bin: hexadecimal digits")
    gone = commands.add_parser("delete", help="delete a key", epilog="example: rondo cmap delete my.key")
    gone.add_argument("key", metavar="KEY")
    watch = commands.add_parser("watch", help="print a line for each change", epilog="example: rondo cmap watch my.")
    watch.add_argument("prefix", metavar="PREFIX", help="only keys that begin with this")
    for command in (listed, got, put, watch):
        command.add_argument("--map", choices=MAPS, default="icmap", help="which map (default: %(default)s)")
    for command in (listed, got, watch):
        command.add_argument("--json", action="store_true", help="print JSON")
    for command in (listed, got, put, gone, watch):
        add_place(command)


def run(arguments: argparse.Namespace) -> int:
    with asking(arguments) as control:
        return _COMMANDS[arguments.command](control, arguments)


def _list(control: Control, arguments: argparse.Namespace) -> int:
    found = control.ask(Op.KEYS, prefix=arguments.prefix, map=arguments.map, timeout=ANSWER_TIMEOUT_S)
    _print({key: [kind, value] for key, kind, value in found}, arguments)
    return 0


def _get(control: Control, arguments: argparse.Namespace) -> int:
    found = control.ask(Op.GET, key=arguments.key, map=arguments.map, timeout=ANSWER_TIMEOUT_S)
    _print({arguments.key: found}, arguments)
    return 0


def _print(found: dict[str, list[Any]], arguments: argparse.Namespace) -> None:
    if arguments.json:
        print_json({key: _as_json(value) for key, value in found.items()})
    else:
        for key, value in found.items():
            print(f"{key} {_as_text(value)}")


def _set(control: Control, arguments: argparse.Namespace) -> int:
    value = set_arguments(arguments.key, _parsed(arguments.type, arguments.value))
    control.ask(Op.SET, map=arguments.map, **value, timeout=ANSWER_TIMEOUT_S)
    return 0


def _parsed(kind: str, text: str) -> cmap.Value:
    """The typed value of the text. Raises CommandError."""
    of = cmap.BY_NAME[kind]
    try:
        if of is cmap.Bin:
            return cmap.Bin(bytes.fromhex(text))
        return of(text)  # type: ignore[arg-type]  # all others can be made of a text
    except ValueError:
        raise CommandError(f"{text!r} is no value of type {kind}") from None


def _delete(control: Control, arguments: argparse.Namespace) -> int:
    control.ask(Op.DELETE, key=arguments.key, timeout=ANSWER_TIMEOUT_S, may_repeat=False)
    return 0


def _watch(control: Control, arguments: argparse.Namespace) -> int:
    watch = control.watch(watched(arguments.map), arguments.prefix)
    try:
        while True:
            events = watch.next()
            if events is None:
                raise CommandError("there were more changes than the node keeps; list the keys, and watch again")
            for event in events:
                print(_change(event, arguments.json), flush=True)
    except KeyboardInterrupt:
        return 0
    finally:
        watch.close()


def _change(event: dict[str, Any], as_json: bool) -> str:
    old, new = event["old"], event["new"]
    kind = "add" if old is None else "delete" if new is None else "modify"
    if as_json:
        values = {name: None if value is None else _as_json(value) for name, value in (("old", old), ("new", new))}
        return json.dumps({"event": kind, "key": event["key"], **values})
    shown = [_as_text(value) for value in (old, new) if value is not None]
    return f"{kind} {event['key']} {' -> '.join(shown)}"


def _as_json(value: list[Any]) -> dict[str, Any]:
    typed = cmap.value_of(value)
    assert typed is not None
    if isinstance(typed, cmap.Bin):
        return {"type": typed.type, "value_base64": base64.b64encode(typed).decode()}
    return {"type": typed.type, "value": typed}


def _as_text(value: list[Any]) -> str:
    typed = cmap.value_of(value)
    assert typed is not None
    shown = typed.hex() if isinstance(typed, cmap.Bin) else typed
    return f"({typed.type}) = {shown}"


_COMMANDS = {"list": _list, "get": _get, "set": _set, "delete": _delete, "watch": _watch}
