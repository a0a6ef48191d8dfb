"""What all commands share: how they fail and how they print."""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any, NoReturn


class CommandError(Exception):
    """A command was refused or failed; the text is one line that says what, where, and how to mend it."""


class Parser(argparse.ArgumentParser):
    """argparse, except that wrong usage is told in one line, and that it tells what it takes."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {_one_line(message)}; see `{self.prog} --help`\n")

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
    print(f"error: {_one_line(text)}", file=sys.stderr)


def print_warning(text: str) -> None:
    """One line on standard error, about something that does not keep the command from going on."""
    print(f"warning: {_one_line(text)}", file=sys.stderr)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _one_line(text: str) -> str:
    """Line breaks and control characters, from a file's name for example, are escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
