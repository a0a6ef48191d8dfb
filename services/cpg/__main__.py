"""The cpg service: process groups on top of the ring. Started by `rondo start`, or by hand for a look at it alone.

    python -m services.cpg -c corosync.conf --run-dir /run/rondo
    python -m services.cpg --status --run-dir /run/rondo

It waits for totem, and takes up where a killed predecessor was. Exit codes: 0 stopped by SIGTERM or SIGINT; 2 wrong
usage; 8 the configuration cannot be used; 15 something that it needs cannot be had (a socket, a directory); 18 it runs
already.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rondo import config, paths
from rondo.bus.control import ControlError, ask
from rondo.bus.instance import InstanceError
from rondo.bus.sockets import SocketError
from rondo.config import ConfigError, NodeConfig, NodeConfigError
from rondo.logs import LEVELS, LogError, Logs
from services.cpg.process import Process

EXIT_CONFIGURATION = 8
EXIT_FATAL = 15
EXIT_RUNNING = 18


def main(arguments: list[str] | None = None) -> int:
    """Run the service; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.status:
            print(json.dumps(ask(paths.run_dir(options.run_dir), "cpg", "status"), indent=2))
            return 0
        return _run(options)
    except ControlError as error:
        return _fail(str(error), 1)
    except (ConfigError, NodeConfigError, LogError) as error:
        return _fail(str(error), EXIT_CONFIGURATION)
    except InstanceError as error:
        return _fail(str(error), EXIT_RUNNING)
    except (SocketError, paths.PathError) as error:
        return _fail(str(error), EXIT_FATAL)


def _run(options: argparse.Namespace) -> int:
    if options.resolved:
        node_config = NodeConfig.read(options.resolved)
    else:
        node_config = config.resolve(config.load(options.config, node_id=options.nodeid))
    run_dir = paths.make_run_dir(options.run_dir)
    logs = Logs(node_config.log_settings("cpg"))
    if options.log_level:
        logs.set_level(options.log_level)
    logs.start()
    try:
        return Process(node_config, run_dir, logs).run()
    finally:
        logs.close()


def _fail(text: str, code: int) -> int:
    print(f"cpg: {text}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.cpg", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
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
