"""All commands and their arguments as plain data, from which man pages and completion are generated.

It is read from the parsers themselves, so neither can name an option that does not exist, or miss one.
"""

import argparse
import enum
from collections.abc import Iterator
from dataclasses import dataclass

from rondo.cli.finding import SUMMARY, command_names, parser_of
from rondo.cli.output import Parser

FILE_METAVARS = ("FILE", "F", "PATH")
DIRECTORY_METAVARS = ("D",)
FILE_HELP = "file with"


class Kind(enum.Enum):
    """What the shell can offer for a value."""

    FLAG = enum.auto()
    """Nothing: there is no value."""
    TEXT = enum.auto()
    """Nothing: any text."""
    CHOICE = enum.auto()
    FILE = enum.auto()
    DIRECTORY = enum.auto()
    COMMAND_LINE = enum.auto()
    """A program and its arguments, to the end of the line."""


@dataclass(frozen=True, slots=True)
class Argument:
    """An option, or, without names, a positional argument."""

    names: tuple[str, ...]
    metavar: str
    """The name of the value in a synopsis; empty for a flag."""
    kind: Kind
    choices: tuple[str, ...]
    help: str
    is_required: bool


@dataclass(frozen=True, slots=True)
class Command:
    """A command or sub-command."""

    words: tuple[str, ...]
    """The typed words: ("rondo", "sam", "run")."""
    summary: str
    """One line."""
    description: str
    """More than the summary; may be empty."""
    example: str
    arguments: tuple[Argument, ...]
    commands: tuple["Command", ...]

    @property
    def options(self) -> tuple[Argument, ...]:
        return tuple(each for each in self.arguments if each.names)

    @property
    def positionals(self) -> tuple[Argument, ...]:
        return tuple(each for each in self.arguments if not each.names)

    def all(self) -> Iterator["Command"]:
        """This command and all below it."""
        yield self
        for command in self.commands:
            yield from command.all()


def tree() -> Command:
    """The whole of `rondo`. Imports every command."""
    arguments = (
        Argument(("-h", "--help"), "", Kind.FLAG, (), "show this help message and exit", is_required=False),
        Argument(("--version",), "", Kind.FLAG, (), "show program's version number and exit", is_required=False),
    )
    commands = tuple(_command(("rondo", name), "", parser_of(name)) for name in command_names())
    return Command(("rondo",), SUMMARY, "", "rondo start", arguments, commands)


def _command(words: tuple[str, ...], summary: str, parser: Parser) -> Command:
    described = parser.description or ""
    return Command(
        words,
        summary or described,
        described if summary else "",
        (parser.epilog or "").partition("example: ")[2],
        tuple(_argument(action) for action in parser.takes()),
        tuple(_command((*words, name), line, below) for name, line, below in parser.subcommands()),
    )


def _argument(action: argparse.Action) -> Argument:
    text = (action.help or "") % vars(action)
    choices = tuple(map(str, action.choices or ()))
    if action.nargs == 0:
        return Argument(tuple(action.option_strings), "", Kind.FLAG, (), text, is_required=False)
    name = action.metavar if isinstance(action.metavar, str) else "|".join(choices) or action.dest.upper()
    is_required = action.required if action.option_strings else action.nargs is None
    return Argument(tuple(action.option_strings), name, _kind(action, text, name), choices, text, is_required)


def _kind(action: argparse.Action, text: str, metavar: str) -> Kind:
    if action.nargs == argparse.REMAINDER:
        return Kind.COMMAND_LINE
    if action.choices:
        return Kind.CHOICE
    if metavar in FILE_METAVARS or text.startswith(FILE_HELP):
        return Kind.FILE
    return Kind.DIRECTORY if metavar in DIRECTORY_METAVARS else Kind.TEXT
