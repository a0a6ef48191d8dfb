"""Common to all commands: error reports and output."""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from rondo.cli.standard_output import give_up

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


class CommandError(Exception):
    """A command was refused or failed. The text names what, where, and the remedy, in one line."""


class Parser(argparse.ArgumentParser):
    """argparse, except that wrong usage is reported in one line, and that the parser can list its arguments."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {_one_line(message)}; see `{self.prog} --help`\n")

    def _print_message(self, message: str, file: "SupportsWrite[str] | None" = None) -> None:
        """argparse passes over what it cannot write; help that is led into a file on a full disk is an error."""
        if file is sys.stdout:
            print(message, end="")
        else:
            _say(message)

    def takes(self) -> Iterator[argparse.Action]:
        """The options and arguments that --help shows, without the choice of a sub-command."""
        for action in self._actions:
            if action.help != argparse.SUPPRESS and not isinstance(action, argparse._SubParsersAction):
                yield action

    def subcommands(self) -> Iterator[tuple[str, str, "Parser"]]:
        """Name, one line of help, and parser of each sub-command that --help shows."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for shown in action._choices_actions:
                    yield shown.dest, shown.help or "", action.choices[shown.dest]


def print_error(text: str) -> None:
    """One line on standard error."""
    _say(f"error: {_one_line(text)}\n")


def print_warning(text: str) -> None:
    """One line on standard error about something that does not stop the command."""
    _say(f"warning: {_one_line(text)}\n")


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _say(text: str) -> None:
    """On standard error. Where it cannot be written nobody can be told, and the exit code says enough."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        give_up(sys.stderr.fileno())


def _one_line(text: str) -> str:
    """Escapes line breaks and control characters, from a file's name for example."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
