"""The start of a service: its options, its configuration, its log, and an exit code that tells what was wrong.

Each `services/*/__main__.py` declares its own part (`Service`) and leaves the rest to `main`.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rondo import config, paths
from rondo.config import ConfigError, NodeConfig, NodeConfigError
from rondo.config.key import KeyFileError
from rondo.ipc.control import ControlError, ask
from rondo.ipc.endpoints import SocketError
from rondo.node import compiled
from rondo.node.descriptors import fill_standard
from rondo.node.exit_codes import EXIT_CONFIGURATION, EXIT_FATAL, EXIT_NOT_ANSWERED, EXIT_OK, EXIT_RUNNING
from rondo.node.instance import InstanceError
from rondo.node.logs import LEVELS, SAID_ON_STDERR, LogError, Logs
from rondo.node.process_name import set_process_name

PR_SET_DUMPABLE = 4


PROCESS_NAMES = {"ipc_gateway": "gateway", "qb_gateway": "qb"}
"""The name in ps, where there is little room."""


@dataclass(frozen=True, slots=True)
class Start:
    """The settings with which a service is started."""

    config: NodeConfig
    run_dir: Path
    state_dir: Path
    """The directory for what outlives the service; the run directory if it keeps nothing (`Service.state_dir`)."""
    logs: Logs
    heartbeat: bool = False
    """Standard input is the pipe of supervisord's watchdog (rondo.node.chassis)."""


@dataclass(frozen=True, slots=True)
class Service:
    """The particulars of one service. `run` returns an exit code. An OSError of it is reported as a missing
    resource."""

    name: str
    about: str
    """The text of `--help`."""
    run: Callable[[Start], int]
    run_dir: str
    """What the service has in the run directory, for `--help`."""
    state_dir: str = ""
    """What the service has in the state directory, for `--help`; empty: nothing."""
    lacking: tuple[type[Exception], ...] = ()
    """The service's own exceptions that mean that a resource is missing."""


def main(service: Service, arguments: list[str] | None = None) -> int:
    """Run the service, or ask a running one for its state; returns the exit code (rondo.node.exit_codes)."""
    fill_standard()
    options = _parser(service).parse_args(arguments)

    try:
        return _print_status(service, options) if options.status else _run(service, options)
    except ControlError as error:
        print(error, file=sys.stderr)
        return EXIT_NOT_ANSWERED
    except Exception as error:
        told = _told(service, error)
        if told is None:
            raise
        text, code = told
        # This comes last, because `rondo start` and supervisord take the last line for the reason.
        print(f"{service.name}: {text}", file=sys.stderr)
        return code


def _told(service: Service, error: Exception) -> tuple[str, int] | None:
    """The one-line text with the remedy, and the exit code, for the error that ends the service. None for a programming
    error."""
    if isinstance(error, ConfigError | NodeConfigError | KeyFileError | LogError):
        return str(error), EXIT_CONFIGURATION
    if isinstance(error, InstanceError):
        return str(error), EXIT_RUNNING
    if isinstance(error, (paths.PathError, SocketError, *service.lacking)):
        return str(error), EXIT_FATAL
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}; see the permissions and limits of this user", EXIT_FATAL
    return None


def keep_memory_private() -> None:
    """Forbid core dumps of this process, and reading of its memory by other processes of its user (root excepted): it
    has keys and the users' data. See prctl(2)."""
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def _run(service: Service, options: argparse.Namespace) -> int:
    set_process_name(PROCESS_NAMES.get(service.name, service.name))
    keep_memory_private()
    node_config = _configuration(service, options)
    run_dir = paths.make_run_dir(options.run_dir)
    state_dir = run_dir
    if service.state_dir:
        state_dir = paths.make_state_dir(options.state_dir, node_config.state_dir or None)
    logs = Logs(node_config.log_settings(service.name), service.name)
    if options.log_level:
        logs.set_level(options.log_level)
    logs.start()
    code = compiled.state()
    level = logging.WARNING if code == compiled.COMPILED_OF_OTHER_SOURCE else logging.DEBUG
    logging.getLogger("MAIN").log(level, "Running %s.", code)
    try:
        return service.run(Start(node_config, run_dir, state_dir, logs, options.heartbeat))
    except Exception as error:
        # `main` writes it to standard error; the configured log gets it here.
        told = _told(service, error)
        main_log = logging.getLogger("MAIN")
        if told:
            main_log.critical("%s", told[0], extra=SAID_ON_STDERR)
        else:
            main_log.critical("%r ends the service.", error, exc_info=True, extra=SAID_ON_STDERR)
        raise
    finally:
        logs.close()


def _configuration(service: Service, options: argparse.Namespace) -> NodeConfig:
    if options.resolved:
        return NodeConfig.read(options.resolved)
    loaded = config.load(options.config, node_id=options.nodeid)
    for warning in loaded.warnings:
        print(f"{service.name}: warning: {warning}", file=sys.stderr)
    return config.resolve(loaded, state_dir=options.state_dir if service.state_dir else None)


def _print_status(service: Service, options: argparse.Namespace) -> int:
    answer = ask(paths.run_dir(options.run_dir), service.name, "status")
    answer.pop("ok", None)
    print(json.dumps(answer, indent=2))
    return EXIT_OK


def _parser(service: Service) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m services.{service.name}",
        description=service.about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("-c", "--config", metavar="FILE", help="corosync.conf (COROSYNC_MAIN_CONFIG_FILE)")
    source.add_argument("--resolved", metavar="FILE", type=Path, help="configuration that `rondo start` has resolved")
    parser.add_argument("--run-dir", metavar="D", help=f"{service.run_dir} (RONDO_RUN_DIR)")
    if service.state_dir:
        parser.add_argument("--state-dir", metavar="D", help=f"{service.state_dir} (RONDO_STATE_DIR)")
    parser.add_argument("--nodeid", metavar="N", type=int, help="which node of the nodelist this is")
    parser.add_argument("--log-level", metavar="L", choices=LEVELS, help=f"one of {' '.join(LEVELS)}")
    parser.add_argument("--heartbeat", action="store_true", help=argparse.SUPPRESS)  # only supervisord uses it
    parser.add_argument("--status", action="store_true", help="print the state of a running instance as JSON")
    return parser
