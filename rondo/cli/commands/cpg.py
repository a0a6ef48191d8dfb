"""`rondo cpg`: join a process group from the shell, or list the groups of the ring."""

import argparse
import base64
import contextlib
import dataclasses
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import rondo
from rondo import paths
from rondo.cli._in_order import WAIT_S_MAX, InOrder
from rondo.cli.ahead import Ahead
from rondo.cli.connecting import connect
from rondo.cli.output import CommandError, Parser, print_json

HELP = "join a process group, or list the groups"
EXAMPLE = "echo hello | rondo cpg join greetings --json"
ANSWER_TIMEOUT_S = 10.0
READ_BYTES = 64 * 1024
LINE_END = b"\n"


def add_arguments(parser: Parser) -> None:
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    join = commands.add_parser(
        "join",
        help="multicast the lines of standard input to a group, and print what happens in it",
        description="Join a group. Each line of standard input is multicast to it, without its newline; each event is "
        "printed. At the end of input it leaves, after all its own messages were delivered.",
        epilog="example: echo hello | rondo cpg join greetings --json",
    )
    join.add_argument("group", metavar="GROUP", help="name of the group, 1 to 128 bytes")
    join.add_argument("--json", action="store_true", help="print events as JSON, one object a line")
    join.add_argument(
        "--guarantee",
        choices=("agreed", "safe"),
        default="agreed",
        help="safe: deliver only what every member of the ring has received (default: %(default)s)",
    )
    join.add_argument(
        "--quorum", action="store_true", help="print also when quorum is won or lost, in its place among the events"
    )
    groups = commands.add_parser(
        "groups", help="list groups and their members", epilog="example: rondo cpg groups --json"
    )
    groups.add_argument("--json", action="store_true", help="print JSON")
    groups.add_argument("--all", action="store_true", help="show the nodes' own groups (rondo.lap.*), too")
    for command in (join, groups):
        command.add_argument("--socket", metavar="ENDPOINT", help="what to connect to (RONDO_SOCKET)")
        command.add_argument("--run-dir", metavar="D", help="run directory of the node (RONDO_RUN_DIR)")


def run(arguments: argparse.Namespace) -> int:
    endpoint = paths.client_socket(arguments.socket, arguments.run_dir)
    try:
        with connect(endpoint) as cluster:
            return _groups(cluster, arguments) if arguments.command == "groups" else _join(cluster, arguments)
    except rondo.Error as error:
        raise CommandError(str(error)) from None


def _groups(cluster: rondo.Cluster, arguments: argparse.Namespace) -> int:
    groups = cluster.cpg.groups(timeout=ANSWER_TIMEOUT_S, hidden=arguments.all)
    if arguments.json:
        print_json([{**group, "group": _text(group["group"])} for group in groups])
        return 0
    for group in groups:
        members = " ".join(f"{member['node']}/{member['pid']}" for member in group["members"])
        print(f"{_text(group['group'])}: {members}")
    return 0


def _printed(ahead: Ahead, event: rondo.Event) -> None:
    """This event was printed."""
    if isinstance(event, rondo.Message) and event.request is not None:
        ahead.took(len(event.data) + 1)
    elif isinstance(event, rondo.Disconnected | rondo.UnknownOutcome):
        ahead.forget()


def _join(cluster: rondo.Cluster, arguments: argparse.Namespace) -> int:
    """Print events. A separate thread reads the input and sends it.

    SIGINT and SIGTERM leave the group at once, without waiting as at the end of input. The loop ends with the last
    event. A second signal ends the process.
    """
    guarantee = rondo.Guarantee[arguments.guarantee.upper()]
    group = cluster.cpg.join(arguments.group)
    show = _show_json if arguments.json else _show_text
    failed: list[rondo.Error] = []
    ahead = Ahead()

    def interrupt(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        # Not in this thread: the signal may have come while it held the session's lock.
        threading.Thread(target=_leave, args=(group,), daemon=True).start()

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        threading.Thread(target=_send_lines, args=(group, guarantee, ahead, failed), daemon=True).start()
        if arguments.quorum:
            _print_with_quorum(cluster, group, show, ahead)
        else:
            for event in group:
                print(show(event, group.name), flush=True)
                _printed(ahead, event)
    finally:
        ahead.over()
        for number, handler in previous.items():
            signal.signal(number, handler)
    if failed:
        raise failed[0]
    return 0


def _print_with_quorum(
    cluster: rondo.Cluster, group: rondo.Group, show: Callable[[Any, str], str], ahead: Ahead
) -> None:
    """Separate threads read the two streams; this one prints them merged."""
    came: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    changes = cluster.quorum.watch(current=True)
    first = next(changes)
    assert isinstance(first, rondo.quorum.Quorate)
    order = InOrder(first)
    print(show(first, group.name), flush=True)

    def take(stream: str, events: Iterable[Any]) -> None:
        with contextlib.suppress(rondo.Error):
            for event in events:
                came.put((stream, event))
        came.put((stream, None))

    if cluster.quorum.status().provider is not None:
        threading.Thread(target=take, args=("quorum", changes), daemon=True).start()
    else:
        order = InOrder(dataclasses.replace(first, ring=rondo.Ring(0, sys.maxsize)))
    threading.Thread(target=take, args=("group", group), daemon=True).start()
    while True:
        try:
            stream, event = came.get(timeout=WAIT_S_MAX if order.is_waiting else None)
        except queue.Empty:
            lines = order.tick(time.monotonic())
        else:
            if event is None and stream == "group":
                break
            lines = []
            if stream == "group":
                lines = order.group(event, time.monotonic())
            elif isinstance(event, rondo.quorum.Quorate):
                lines = order.quorum(event, time.monotonic())
        for _, line in lines:
            print(show(line, group.name), flush=True)
            _printed(ahead, line)
    for _, line in order.rest():
        print(show(line, group.name), flush=True)


def _leave(group: rondo.Group) -> None:
    with contextlib.suppress(rondo.Error):  # the group was left already, or the connection is lost: the events tell why
        group.leave()


def _send_lines(group: rondo.Group, guarantee: rondo.Guarantee, ahead: Ahead, failed: list[rondo.Error]) -> None:
    """Send every line, wait until the last is delivered, and leave. Leaving ends the printing loop.

    A line whose outcome is unknown is not sent again, because others may have it. An event reports that.
    """
    rest = b""
    requests: list[rondo.Request] = []
    try:
        while block := os.read(sys.stdin.fileno(), READ_BYTES):
            *lines, rest = (rest + block).split(LINE_END)
            requests = [request for request in requests if not request.is_done]
            for line in lines:
                ahead.sending(len(line) + 1)
                requests.append(group.mcast(line, guarantee, timeout=None))
        if rest:
            requests.append(group.mcast(rest, guarantee, timeout=None))
        for request in requests:
            with contextlib.suppress(rondo.Disconnected):
                request.ordered(timeout=None)
    except rondo.NotExist:
        return  # interrupted: the group was left already
    except rondo.Error as error:
        failed.append(error)
    except OSError as error:
        failed.append(rondo.Error(f"standard input: {error.strerror}"))
    _leave(group)


def _show_json(event: rondo.Event | rondo.quorum.Quorate, group: str) -> str:
    return json.dumps(_as_json(event, group), ensure_ascii=False)


def _as_json(event: rondo.Event | rondo.quorum.Quorate, group: str) -> dict[str, Any]:
    match event:
        case rondo.quorum.Quorate():
            ring = {"representative": event.ring.representative, "sequence": event.ring.sequence}
            return {"event": "quorum", "quorate": event.quorate, "ring": ring, "members": list(event.members)}
        case rondo.Message():
            said: dict[str, Any] = {
                "event": "message",
                "group": _text(group),
                "sender": _member(event.sender),
                "configuration": event.configuration.value,
            }
            try:
                said["data"] = event.data.decode()
            except UnicodeDecodeError:
                said["data_base64"] = base64.b64encode(event.data).decode()
            return said
        case rondo.Membership():
            return {
                "event": "membership",
                "group": _text(group),
                "members": [_member(member) for member in event.members],
                "joined": [{**_member(change.member), "reason": change.reason.value} for change in event.joined],
                "left": [{**_member(change.member), "reason": change.reason.value} for change in event.left],
            }
        case rondo.RingChange():
            ring = {"representative": event.ring.representative, "sequence": event.ring.sequence}
            return {"event": "ring", "ring": ring, "members": list(event.members)}
        case rondo.Suspended():
            return {"event": "suspended", "reason": event.reason}
        case rondo.Resumed():
            return {"event": "resumed"}
        case rondo.Disconnected():
            return {"event": "disconnected", "reason": event.reason}
        case rondo.Reconnected():
            return {"event": "reconnected"}
        case rondo.UnknownOutcome():
            return {"event": "unknown_outcome", "requests": list(event.requests)}
        case rondo.SlowConsumer():
            return {"event": "slow_consumer", "held_bytes": event.held_bytes, "cut_bytes": event.cut_bytes}


def _show_text(event: rondo.Event | rondo.quorum.Quorate, group: str) -> str:
    match event:
        case rondo.quorum.Quorate():
            return f"* {'quorate' if event.quorate else 'not quorate'}; nodes: {' '.join(map(str, event.members))}"
        case rondo.Message():
            late = "" if event.configuration is rondo.Configuration.REGULAR else " (transitional)"
            return (
                f"{event.sender.node}/{event.sender.pid}{late}: {_text(event.data.decode(errors='backslashreplace'))}"
            )
        case rondo.Membership():
            came = [f"+{c.node}/{c.pid} ({c.reason})" for c in event.joined]
            gone = [f"-{c.node}/{c.pid} ({c.reason})" for c in event.left]
            members = " ".join(f"{m.node}/{m.pid}" for m in event.members) or "nobody"
            return f"* {_text(group)}: {' '.join([*came, *gone])}; members: {members}"
        case rondo.RingChange():
            nodes = " ".join(map(str, event.members))
            return f"* ring {event.ring.representative}:{event.ring.sequence}; nodes: {nodes}"
        case rondo.Suspended():
            return f"* suspended: {event.reason}"
        case rondo.Resumed():
            return "* resumed"
        case rondo.Disconnected():
            return f"* disconnected: {event.reason}"
        case rondo.Reconnected():
            return "* reconnected"
        case rondo.UnknownOutcome():
            return f"* outcome unknown: requests {' '.join(map(str, event.requests))}"
        case rondo.SlowConsumer():
            return f"* too slow: {event.held_bytes} bytes wait; with more than {event.cut_bytes} this ends"


def _member(member: rondo.Member) -> dict[str, int]:
    return {"node": member.node, "pid": member.pid}


def _text(name: str) -> str:
    """Printable text. Bytes that are not UTF-8 came as surrogates, and control characters would move the cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
