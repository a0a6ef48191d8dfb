"""`rondo start`: start this node, and return once it is in a ring and serves clients."""

import argparse
import signal

from rondo import paths
from rondo.cli.interrupts import interrupt_on
from rondo.cli.output import Parser, print_warning

HELP = "start this node"
EXAMPLE = "rondo start -c /etc/corosync/corosync.conf"


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        help="the configuration (default: $COROSYNC_MAIN_CONFIG_FILE, else /etc/corosync/corosync.conf; without any "
        "file a single node on loopback, with a key of its own)",
    )
    parser.add_argument("--run-dir", metavar="D", help="sockets, locks and logs (default: $RONDO_RUN_DIR)")
    parser.add_argument("--state-dir", metavar="D", help="the ring sequence (default: $RONDO_STATE_DIR)")
    parser.add_argument("--nodeid", type=int, metavar="N", help="which node of the configuration this is")
    parser.add_argument(
        "--foreground", action="store_true", help="stay, print the log, and stop the node on SIGTERM, SIGHUP or Ctrl-C"
    )
    parser.add_argument(
        "--user",
        metavar="NAME",
        help="as root: make the sockets of C programs, then give up root's rights; the node runs as this user",
    )


def run(arguments: argparse.Namespace) -> int:
    from rondo.cli.progress import Progress
    from rondo.config import load, resolve
    from rondo.config.checks_machine import check_machine
    from rondo.ipc.endpoints import SocketError
    from rondo.node import c_sockets, installation
    from rondo.node.become import become
    from rondo.node.supervision import foreground, survey
    from rondo.node.supervision.launch import launch, make_run_dir, wait_until_ready

    sockets, why_none = [], ""
    if arguments.user:
        try:
            sockets = c_sockets.listen_all()
        except SocketError as error:
            why_none = str(error)
        become(arguments.user)
    if mixed := installation.strangers():
        print_warning(mixed)
    loaded = load(arguments.config, node_id=arguments.nodeid)
    for warning in loaded.warnings:
        print_warning(str(warning))
    config = resolve(loaded, state_dir=arguments.state_dir)
    if why_none and config.qb_ipc != "no":
        print_warning(f"C programs will not be told that root serves them: {why_none}")
    for warning in check_machine(loaded, config):
        print_warning(str(warning))
    run_dir = make_run_dir(arguments.run_dir)
    state_dir = paths.make_state_dir(arguments.state_dir, config.state_dir or None)
    interrupt_on(signal.SIGTERM, signal.SIGHUP)
    log = foreground.open_log(run_dir)
    with Progress("starting the processes"):
        node = launch(config, run_dir, state_dir, sockets)
    for name in node.orphans:
        print_warning(f"{name} of an earlier life of this node was still running without its supervisord; stopped it")
    with Progress("waiting for the processes") as progress:
        wait_until_ready(node, progress.step)
    totem = survey.ask_one(run_dir, "totem") or {}
    members = " ".join(map(str, totem.get("members", [])))
    print(f"node {config.node_id} is in a ring (members: {members}) and serves clients at {run_dir}", flush=True)
    return foreground.stay(node, log) if arguments.foreground else 0
