"""The totem service: this node's end of the ring. Started by `rondo start`, or by hand for a look at it alone.

    python -m services.totem -c corosync.conf --run-dir /run/rondo --state-dir /var/lib/rondo
    python -m services.totem --status --run-dir /run/rondo

Exit codes: 0 stopped by SIGTERM or SIGINT after leaving the ring; 2 wrong usage; 8 the configuration cannot be used;
15 something that the node needs cannot be had (a port, a directory); 18 it runs already.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rondo import config, paths
from rondo.bus.control import ControlError, ask
from rondo.bus.instance import InstanceError
from rondo.config import ConfigError, NodeConfig, NodeConfigError
from rondo.logs import LEVELS, LogError, Logs
from services.totem.process import EXIT_CONFIGURATION, Process
from services.totem.protection import make_protection
from services.totem.transport.sockets import CannotBind

EXIT_FATAL = 15
EXIT_RUNNING = 18


def main(arguments: list[str] | None = None) -> int:
    """Run the service; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _print_status(options) if options.status else _run(options)
    except ControlError as error:
        return _fail(str(error), 1)
    except (ConfigError, NodeConfigError, LogError) as error:
        return _fail(str(error), EXIT_CONFIGURATION)
    except InstanceError as error:
        return _fail(str(error), EXIT_RUNNING)
    except (CannotBind, paths.PathError) as error:
        return _fail(str(error), EXIT_FATAL)


def _run(options: argparse.Namespace) -> int:
    node_config = _configuration(options)
    run_dir = paths.make_run_dir(options.run_dir)
    paths.socket_endpoint(run_dir, "totem.sock")
    state_dir = paths.make_state_dir(options.state_dir, node_config.state_dir or None)
    logs = Logs(node_config.log_settings("totem"))
    if options.log_level:
        logs.set_level(options.log_level)
    logs.start()
    try:
        protection = make_protection(node_config, state_dir)
        if protection is not None:
            protection.announce()
        return Process(node_config, run_dir, state_dir, logs, protection).run()
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"{place}{error.strerror or error}; see the permissions and limits of this user", EXIT_FATAL)
    finally:
        logs.close()


def _print_status(options: argparse.Namespace) -> int:
    answer = ask(paths.run_dir(options.run_dir), "totem", "status")
    del answer["ok"]
    print(json.dumps(answer, indent=2))
    return 0


def _configuration(options: argparse.Namespace) -> NodeConfig:
    if options.resolved:
        return NodeConfig.read(options.resolved)
    loaded = config.load(options.config, node_id=options.nodeid)
    for warning in loaded.warnings:
        print(f"totem: warning: {warning}", file=sys.stderr)
    return config.resolve(loaded, state_dir=options.state_dir)


def _fail(text: str, code: int) -> int:
    print(f"totem: {text}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.totem", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("-c", "--config", metavar="FILE", help="corosync.conf (COROSYNC_MAIN_CONFIG_FILE)")
    source.add_argument("--resolved", metavar="FILE", type=Path, help="configuration that `rondo start` has resolved")
    parser.add_argument("--run-dir", metavar="D", help="sockets and locks (RONDO_RUN_DIR)")
    parser.add_argument("--state-dir", metavar="D", help="the ring sequence (RONDO_STATE_DIR)")
    parser.add_argument("--nodeid", metavar="N", type=int, help="which node of the nodelist this is")
    parser.add_argument("--log-level", metavar="L", choices=LEVELS, help=f"one of {' '.join(LEVELS)}")
    parser.add_argument("--status", action="store_true", help="print the state of a running instance as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
