"""`rondo stop`: leave the ring and stop all processes of this node, including those left by a killed supervisord."""

import argparse

from rondo import paths
from rondo.cli.output import CommandError, Parser, print_warning

HELP = "leave the ring cleanly and stop this node"
EXAMPLE = "rondo stop --run-dir /run/rondo"


def add_arguments(parser: Parser) -> None:
    parser.add_argument("--run-dir", metavar="D", help="the node's run directory (default: $RONDO_RUN_DIR)")

    parser.add_argument(
        "--ask", action="store_true", help="not if a program that watches shutdowns objects; it has five seconds"
    )


def run(arguments: argparse.Namespace) -> int:
    from rondo.cli.progress import Progress
    from rondo.node.supervision.halt import halt

    run_dir = paths.run_dir(arguments.run_dir)
    with Progress("asking whether anybody objects") as progress:
        if arguments.ask:
            _ask(arguments.run_dir)
        halted = halt(run_dir, progress.step)
    for name in halted.orphans:
        print_warning(f"{name} was running without supervisord; stopped it too")
    for name in halted.killed:
        print_warning(f"{name} did not stop when asked to and was killed")
    print(f"the node in {run_dir} has stopped" if halted.ran else f"no node runs in {run_dir}")
    return 0


def _ask(run_dir: str | None) -> None:
    """Ask the node to stop itself. What is left of it is stopped afterwards as usual. Raises CommandError."""
    import rondo
    from rondo._client.cfg import SHUTDOWN_TIMEOUT_S, Cfg
    from rondo._client.control import Control
    from rondo._client.endpoint import endpoint_of

    control = Control(endpoint_of(paths.client_socket(None, run_dir)))
    try:
        Cfg(control).shut_down(timeout=SHUTDOWN_TIMEOUT_S)
    except rondo.Busy as error:
        raise CommandError(f"{error}; without --ask nobody is asked") from None
    except rondo.Error as error:
        raise CommandError(f"{error}; without --ask the node is stopped all the same") from None
    finally:
        control.close()
