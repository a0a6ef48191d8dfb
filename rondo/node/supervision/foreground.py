"""Stay with a started node: for systemd, for containers, for a terminal (`rondo start --foreground`).

It prints the merged log, tells the service manager when the node is ready (sd_notify(3)), and stops the node when it is
itself asked to end.
"""

import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

from rondo.cli.output import CommandError
from rondo.node.supervision import record
from rondo.node.supervision.halt import halt
from rondo.node.supervision.launch import Launched
from rondo.node.supervision.logfiles import MergedLog, log_files

LOOK_SECONDS = 0.3


def open_log(run_dir: Path) -> MergedLog:
    """The log from here on, without lines of an earlier life of the node."""
    log = MergedLog(log_files(run_dir))
    log.skip()
    return log


def stay(node: Launched, log: MergedLog) -> int:
    """Print the log until the node stops; returns the exit code. Raises CommandError if the node stopped because of a
    fault."""
    notify_service_manager("READY=1")
    try:
        while node.supervisor.poll() is None:
            _print_lines(log)
            time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        notify_service_manager("STOPPING=1")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        halt(node.run_dir)
        node.supervisor.wait()
    _print_lines(log)
    if why := record.read(node.run_dir).failure:
        raise CommandError(f"the node has stopped: {why}")
    if node.supervisor.returncode < 0:
        raise CommandError("supervisord was killed; its services go on until `rondo stop` or the next `rondo start`")
    return 0


def _print_lines(log: MergedLog) -> None:
    for line in log.read():
        print(line.text, flush=True)


def notify_service_manager(state: str) -> None:
    """Tell systemd about the state, if it has started this process and asked for it. Errors are ignored."""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if not where.startswith(("/", "@")):
        return
    address = f"\0{where[1:]}" if where.startswith("@") else where
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
        notify.sendto(state.encode(), address)
