"""`rondo sam`: run programs under SAM, the availability manager, and manage them."""

import argparse
import os
import shutil
import signal
import sys
import time
from typing import Any

import rondo
from rondo import paths
from rondo.cli.output import CommandError, Parser, print_json
from rondo.node.log_formats import iso_time

HELP = "run programs under the watchdog, list, stop and read them"
EXAMPLE = "rondo sam run --interval-ms 1000 --check ./is-healthy -- ./server --port 80"
FOLLOW_SECONDS = 0.25
COMMAND_SHOWN_MAX = 60
INTERVAL_MS_MAX = 24 * 3600 * 1000


def add_arguments(parser: Parser) -> None:
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    run = commands.add_parser(
        "run",
        help="run a program under the watchdog",
        description="Run CMD under the watchdog, as the calling user, in this directory and environment; prints "
        "its SAM id and returns, when it runs or waits for quorum. SAM acts by --policy when the program ends. It also "
        "acts when the program hangs, if it writes `ok` to the descriptor that RONDO_SAM_HEALTH names, or if there "
        "is a --check.",
        epilog=f"example: {EXAMPLE}",
    )
    run.add_argument(
        "--policy",
        choices=("restart", "quit", "quorum-restart", "quorum-quit"),
        default="restart",
        help="what SAM does when it ends or hangs (%(default)s); with quorum- SAM also waits for quorum to start it, "
        "and ends it when quorum is lost",
    )
    run.add_argument(
        "--interval-ms",
        type=_interval,
        default=1000,
        metavar="MS",
        help="how long it may go without a sign of health (%(default)s)",
    )
    run.add_argument(
        "--warn-signal",
        type=_signal,
        default=int(signal.SIGTERM),
        metavar="SIG",
        help="signal that a hung program gets before it is killed (TERM); KILL: none",
    )
    run.add_argument("--check", metavar="PATH", help="executable that is run every interval; exit 0 = healthy")
    run.add_argument("--json", action="store_true", help="print JSON")
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- CMD ...", help="the program and its arguments")
    status = commands.add_parser("status", help="list what runs under SAM", epilog="example: rondo sam status --json")
    status.add_argument("id", nargs="?", metavar="ID", help="only this one, with its history")
    status.add_argument("--json", action="store_true", help="print JSON")
    stop = commands.add_parser("stop", help="stop an application for good", epilog="example: rondo sam stop server-1")
    stop.add_argument("id", metavar="ID")
    logs = commands.add_parser(
        "logs", help="print what an application wrote", epilog="example: rondo sam logs server-1 -f"
    )
    logs.add_argument("id", metavar="ID")
    logs.add_argument("-f", "--follow", action="store_true", help="also print what follows, until Ctrl-C")
    environment = commands.add_parser(
        "environment", help="print an application's environment", epilog="example: rondo sam environment server-1"
    )
    environment.add_argument("id", metavar="ID")
    for command in (run, status, stop, logs, environment):
        command.add_argument("--socket", metavar="ENDPOINT", help="what to connect to (RONDO_SOCKET)")
        command.add_argument("--run-dir", metavar="D", help="run directory of the node (RONDO_RUN_DIR)")


def run(arguments: argparse.Namespace) -> int:
    from rondo.sam.commands import Sam

    command = {"run": _run, "status": _status, "stop": _stop, "logs": _logs, "environment": _environment}
    try:
        with Sam(paths.client_socket(arguments.socket, arguments.run_dir)) as sam:
            return command[arguments.command](sam, arguments)
    except rondo.Error as error:
        raise CommandError(str(error)) from None


def _run(sam: Any, arguments: argparse.Namespace) -> int:
    from rondo.sam.client import Policy

    argv = arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv
    if not argv:
        print("error: CMD is missing; see `rondo sam run --help`", file=sys.stderr)
        return 2
    if arguments.check is not None:
        _check_check(arguments.check, arguments.interval_ms)
    answer = sam.run(
        argv,
        policy=Policy(arguments.policy),
        interval_ms=arguments.interval_ms,
        warn_signal=arguments.warn_signal,
        check=arguments.check or "",
    )
    print_json(answer) if arguments.json else print(answer["id"])
    return 0


def _check_check(path: str, interval_ms: int) -> None:
    if interval_ms == 0:
        raise CommandError("--check needs an interval: --interval-ms 1000")
    if not os.path.isfile(path):
        raise CommandError(f"{path}: the health check is not there; give the path of an executable with --check")
    if shutil.which(os.path.abspath(path)) is None:
        raise CommandError(f"{path}: the health check is not executable for you; chmod +x {path}")


def _status(sam: Any, arguments: argparse.Namespace) -> int:
    listed = sam.status(arguments.id)
    if arguments.json:
        print_json(listed)
        return 0
    rows = [("ID", "PID", "STATE", "INSTANCE", "POLICY", "COMMAND")]
    rows += [
        (
            each["id"],
            str(each["pid"] or "-"),
            each["state"],
            str(each["instance"]),
            each["policy"],
            _shortened(" ".join(each["command"])),
        )
        for each in listed
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row, each in zip(rows, [None, *listed], strict=True):
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]]))
        if each is not None and each["message"]:
            print(f"    {_printable(each['message'])}")
    if arguments.id:
        for end in listed[0]["history"]:
            when = iso_time(end["time"])
            why = f"{end['why']}; " if end["why"] else ""
            told = f"instance {end['instance']} (process {end['pid']}) {why}{end['text']}"
            print(f"    {when}  {_printable(told)}, after {end['lived_ms'] / 1000:.1f} s")
    return 0


def _stop(sam: Any, arguments: argparse.Namespace) -> int:
    answer = sam.stop(arguments.id)
    print(f"{arguments.id}: {_printable(answer['message'])}")
    return 0


def _logs(sam: Any, arguments: argparse.Namespace) -> int:
    place = (0, 0)
    while True:
        data, place, more = sam.logs(arguments.id, place)
        sys.stdout.buffer.write(data)
        if more:
            continue
        sys.stdout.flush()
        if not arguments.follow:
            return 0
        time.sleep(FOLLOW_SECONDS)


def _environment(sam: Any, arguments: argparse.Namespace) -> int:
    for each in sam.environment(arguments.id):
        print(os.fsdecode(each))
    return 0


def _shortened(text: str) -> str:
    text = _printable(text)
    return text if len(text) <= COMMAND_SHOWN_MAX else f"{text[: COMMAND_SHOWN_MAX - 3]}..."


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _interval(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= INTERVAL_MS_MAX):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of milliseconds from 0 to {INTERVAL_MS_MAX}")
    return int(text)


def _signal(text: str) -> int:
    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    if name in signal.Signals.__members__:
        return int(signal.Signals[name])
    if text.isascii() and text.isdigit() and len(text) < 4 and int(text) in signal.valid_signals():
        return int(text)
    raise argparse.ArgumentTypeError(f"'{text}' is no signal; TERM, INT, USR1 ...")
