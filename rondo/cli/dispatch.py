"""Runs the sub-command of `rondo`: finds it, imports only its module, and reports a failure in one line.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 128 and the signal's number if a signal ended the command.
"""

import argparse
import difflib
import functools
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import rondo
from rondo.cli.finding import SUMMARY, command_names, command_of, parser_of
from rondo.cli.interrupts import exit_code
from rondo.cli.output import CommandError, Parser, print_error
from rondo.cli.standard_output import STANDARD_OUTPUT, give_up, name_standard_output
from rondo.config.faults import ConfigError
from rondo.node.descriptors import fill_standard
from rondo.paths import PathError

USAGE_EXIT_CODE = 2
FAULTS_SHOWN_MAX = 20
FOR_NODES = frozenset({"cryptography", "pydantic", "supervisor", "zmq"})
"""Packages that an installation for applications alone may lack."""


def dispatch(arguments: Sequence[str] | None) -> int:
    """Run `rondo ARGUMENTS` (None: those of the process); returns the exit code."""
    fill_standard()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    name_standard_output()
    code = _reported(functools.partial(_run, arguments))
    flushed = _reported(_flush)
    return code or flushed


def _reported(work: Callable[[], int]) -> int:
    """The exit code of this work. What it fails with is told on standard error."""
    try:
        return work()
    except SystemExit as stop:  # argparse: --help is 0, wrong usage 2
        return stop.code if isinstance(stop.code, int) else USAGE_EXIT_CODE
    except ConfigError as error:
        for fault in error.faults[:FAULTS_SHOWN_MAX]:
            print_error(str(fault))
        if (more := len(error.faults) - FAULTS_SHOWN_MAX) > 0:
            print_error(f"and {more} more of these")
    except (CommandError, PathError) as error:
        print_error(str(error))
    except ModuleNotFoundError as error:
        if (name := (error.name or "").partition(".")[0]) not in FOR_NODES:
            raise
        print_error(
            f"the package {name} is missing; a node needs all that Rondo depends on, and this installation is for "
            "applications alone: install the wheel of Rondo without --no-deps"
        )
    except KeyboardInterrupt as interrupt:
        return exit_code(interrupt)
    except BrokenPipeError:
        give_up(sys.stdout.fileno())  # the reader has gone (`rondo ... | head`)
    except OSError as error:
        if error.filename == STANDARD_OUTPUT:
            give_up(sys.stdout.fileno())
        where = f"{error.filename}: " if error.filename else ""
        print_error(f"{where}{error.strerror or error}")
    return 1


def _flush() -> int:
    """What standard output still holds may be what it cannot take: found here, not when Python exits."""
    sys.stdout.flush()
    return 0


def _run(arguments: list[str]) -> int:
    name = arguments[0] if arguments else ""
    if name.startswith("-") or name.replace("_", "-") not in command_names():
        _without_command(arguments)
    return int(command_of(name).run(parser_of(name).parse_args(arguments[1:])))


def _without_command(arguments: list[str]) -> NoReturn:
    """`rondo --help`, `rondo --version`, no command or an unknown one. Only here all commands are imported."""
    helps = {name: command_of(name).HELP for name in command_names()}
    width = max(map(len, helps), default=0)
    lines = [f"  {name.ljust(width)}  {text}" for name, text in helps.items()]
    parser = Parser(
        prog="rondo",
        usage="rondo COMMAND ...",
        description=SUMMARY,
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
