"""Finds the commands of `rondo`: each is a module of `rondo.cli.commands`, and the directory is the only list of
them."""

import argparse
import importlib
import pkgutil
from types import ModuleType

from rondo.cli import commands
from rondo.cli.output import Parser

SUMMARY = "A cluster executive: totally ordered messages, membership and process groups."


def command_names() -> list[str]:
    """The commands as they are typed."""
    names = (module.name for module in pkgutil.iter_modules(commands.__path__))
    return sorted(name.replace("_", "-") for name in names if not name.startswith("_"))


def command_of(name: str) -> ModuleType:
    """The module of a command. It has HELP, EXAMPLE, add_arguments(parser) and run(arguments)."""
    return importlib.import_module(f"{commands.__name__}.{name.replace('-', '_')}")


def parser_of(name: str) -> Parser:
    """The parser for the arguments of a command."""
    command = command_of(name)
    parser = Parser(
        prog=f"rondo {name}",
        description=command.HELP,
        epilog=f"example: {command.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    return parser
