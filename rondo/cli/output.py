"""What all commands share: how they fail and how they print."""

import argparse
import json
import sys
from typing import Any, NoReturn


class CommandError(Exception):
    """A command was refused or failed; the text is one line that says what, where, and how to mend it."""


class Parser(argparse.ArgumentParser):
    """argparse, except that wrong usage is told in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {_one_line(message)}; see `{self.prog} --help`\n")


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
