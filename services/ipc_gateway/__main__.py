"""The gateway service: what clients of this node connect to. Started by `rondo start`, or by hand for a look at it.

    python -m services.ipc_gateway -c corosync.conf --run-dir /run/rondo
    python -m services.ipc_gateway --status --run-dir /run/rondo

Exit codes: 0 stopped by SIGTERM or SIGINT; 2 wrong usage; 8 the configuration cannot be used; 15 a socket or directory
that it needs cannot be had; 18 it runs already.
"""

import argparse
import json
import sys
from pathlib import Path

from rondo import paths
from rondo.bus.control import ControlError, ask
from rondo.bus.instance import InstanceError
from rondo.bus.sockets import SocketError
from rondo.config.key import KeyFileError
from rondo.config.node import NodeConfig, NodeConfigError
from rondo.logs import LEVELS, LogError, Logs
from services.ipc_gateway.process import SERVICE, Process

EXIT_CONFIGURATION = 8
"""supervisord does not start the service again after this one."""
EXIT_FATAL = 15
EXIT_RUNNING = 18


def main(arguments: list[str] | None = None) -> int:
    """Run the service; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _print_status(options) if options.status else _run(options)
    except ControlError as error:
        return _fail(str(error), 1)
    except (NodeConfigError, LogError, KeyFileError) as error:
        return _fail(str(error), EXIT_CONFIGURATION)
    except InstanceError as error:
        return _fail(str(error), EXIT_RUNNING)
    except (SocketError, paths.PathError) as error:
        return _fail(str(error), EXIT_FATAL)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"{place}{error.strerror or error}; see the permissions and limits of this user", EXIT_FATAL)


def _run(options: argparse.Namespace) -> int:
    node_config = _configuration(options)
    run_dir = paths.make_run_dir(options.run_dir)
    logs = Logs(node_config.log_settings(SERVICE))
    if options.log_level:
        logs.set_level(options.log_level)
    logs.start()
    try:
        Process(node_config, run_dir, logs).run()
    finally:
        logs.close()
    return 0


def _configuration(options: argparse.Namespace) -> NodeConfig:
    if options.resolved:
        return NodeConfig.read(options.resolved)
    # What `rondo start` has resolved needs neither the parser nor pydantic: they are loaded only here.
    from rondo import config

    try:
        return config.resolve(config.load(options.config, node_id=options.nodeid))
    except config.ConfigError as error:
        raise NodeConfigError(str(error)) from None


def _print_status(options: argparse.Namespace) -> int:
    print(json.dumps(ask(paths.run_dir(options.run_dir), SERVICE, "status"), indent=2))
    return 0


def _fail(text: str, code: int) -> int:
    print(f"{SERVICE}: {text}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.ipc_gateway",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("-c", "--config", metavar="FILE", help="corosync.conf (COROSYNC_MAIN_CONFIG_FILE)")
    source.add_argument("--resolved", metavar="FILE", type=Path, help="configuration that `rondo start` has resolved")
    parser.add_argument("--run-dir", metavar="D", help="sockets and locks (RONDO_RUN_DIR)")
    parser.add_argument("--nodeid", metavar="N", type=int, help="which node of the nodelist this is")
    parser.add_argument("--log-level", metavar="L", choices=LEVELS, help=f"one of {' '.join(LEVELS)}")
    parser.add_argument("--status", action="store_true", help="print the state of a running instance as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
