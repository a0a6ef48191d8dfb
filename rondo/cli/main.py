"""The entry point of `rondo`: finds the sub-command, imports it alone, and turns failures into one line each.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.
"""

import argparse
import difflib
import importlib
import io
import os
import pkgutil
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

import rondo
from rondo.cli import commands
from rondo.cli.output import CommandError, Parser, print_error
from rondo.config.faults import ConfigError
from rondo.node.descriptors import fill_standard
from rondo.paths import PathError

USAGE_EXIT_CODE = 2
INTERRUPTED_EXIT_CODE = 130
FAULTS_SHOWN_MAX = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `rondo ARGUMENTS`; returns the exit code."""
    fill_standard()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
    try:
        return _run(arguments)
    except SystemExit as stop:  # argparse: --help is 0, wrong usage 2
        return stop.code if isinstance(stop.code, int) else USAGE_EXIT_CODE
    except ConfigError as error:
        for fault in error.faults[:FAULTS_SHOWN_MAX]:
            print_error(str(fault))
        if (more := len(error.faults) - FAULTS_SHOWN_MAX) > 0:
            print_error(f"and {more} more of these")
    except (CommandError, PathError) as error:
        print_error(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT_CODE
    except BrokenPipeError:
        # The reader has gone (`rondo ... | head`). Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print_error(f"{where}{error.strerror or error}")
    return 1


def _run(arguments: list[str]) -> int:
    name = arguments[0] if arguments else ""
    module_name = name.replace("-", "_")
    if name.startswith("-") or module_name not in _command_names():
        _without_command(arguments)
    command = _command(module_name)
    parser = Parser(
        prog=f"rondo {name}",
        description=command.HELP,
        epilog=f"example: {command.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    code = command.run(parser.parse_args(arguments[1:]))
    sys.stdout.flush()  # so that a closed pipe is noticed here
    return int(code)


def _command_names() -> list[str]:
    names = (module.name for module in pkgutil.iter_modules(commands.__path__))
    return sorted(name for name in names if not name.startswith("_"))


def _command(module_name: str) -> ModuleType:
    return importlib.import_module(f"{commands.__name__}.{module_name}")


def _without_command(arguments: list[str]) -> NoReturn:
    """`rondo --help`, `rondo --version`, no or an unknown command. Here alone all commands are imported."""
    helps = {name.replace("_", "-"): _command(name).HELP for name in _command_names()}
    width = max(map(len, helps), default=0)
    lines = [f"  {name.ljust(width)}  {text}" for name, text in helps.items()]
    parser = Parser(
        prog="rondo",
        usage="rondo COMMAND ...",
        description="A cluster executive: totally ordered messages, membership and process groups.",
        epilog="\n".join(["commands:", *lines, "", "`rondo COMMAND --help` tells more.", "", "example: rondo start"]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rondo {rondo.__version__}")
    if not arguments:
        parser.error("a command is missing")
    if not arguments[0].startswith("-"):
        close = difflib.get_close_matches(arguments[0], helps, n=1)
        parser.error(f"there is no command '{arguments[0]}'" + (f", did you mean '{close[0]}'?" if close else ""))
    parser.parse_args(arguments)
    parser.error("a command is missing")


if __name__ == "__main__":
    sys.exit(main())
