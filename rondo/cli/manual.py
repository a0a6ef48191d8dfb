"""The man pages, rondo(1) and one for each command: python -m rondo.cli.manual DIRECTORY

They are generated from the parsers (`rondo.cli.tree`), in the man macros that groff and mandoc know.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import rondo
from rondo.cli.tree import Argument, Command, Kind, tree

SECTION = "1"
EXIT_CODES = (
    ("0", "Done."),
    ("1", "Refused or failed; standard error says why, and how to mend it."),
    ("2", "Wrong usage."),
    ("130", "Interrupted."),
)
ENVIRONMENT = (
    ("RONDO_RUN_DIR", "The node's run directory: sockets, locks and logs."),
    ("RONDO_STATE_DIR", "What the node keeps over a restart."),
    ("RONDO_SOCKET", "What commands and applications connect to, where it is not in the run directory."),
    ("COROSYNC_MAIN_CONFIG_FILE", "The configuration, where -c names none."),
    ("COROSYNC_TOTEM_AUTHKEY_FILE", "The key file, where the configuration names none."),
)
FILES = (
    ("/etc/corosync/corosync.conf", "The configuration."),
    ("/etc/corosync/authkey", "The key that all nodes of a cluster share."),
)


def pages() -> dict[str, str]:
    """The text of every page, by file name."""
    whole = tree()
    found = {f"rondo.{SECTION}": "\n".join(_overview(whole)) + "\n"}
    for command in whole.commands:
        found[f"{_page(command)}.{SECTION}"] = "\n".join(_of_command(command)) + "\n"
    return found


def _page(command: Command) -> str:
    return "-".join(command.words)


def _overview(whole: Command) -> Iterator[str]:
    yield from _head("rondo", "cluster executive: ordered messages, membership, process groups")
    yield from (".SH SYNOPSIS", r".B rondo", r".I COMMAND", r"\&...")
    yield from (".br", r".B rondo", r"[\fB\-h\fR|\fB\-\-help\fR] [\fB\-\-version\fR]")
    yield ".SH DESCRIPTION"
    yield quoted(whole.summary)
    yield "Each command has a page of its own, and tells what it takes with \\fB\\-\\-help\\fR."
    yield ".SH COMMANDS"
    for command in whole.commands:
        yield from (".TP", rf".BR {quoted(_page(command))} ({SECTION})", quoted(command.summary))
    yield from _options(whole, ".SH OPTIONS")
    for heading, entries in (("EXIT STATUS", EXIT_CODES), ("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES)):
        yield f".SH {heading}"
        for term, text in entries:
            yield from (".TP", rf".B {quoted(term)}", quoted(text))
    yield ".SH SEE ALSO"
    yield ",\n".join(rf".BR {quoted(_page(command))} ({SECTION})" for command in whole.commands)


def _of_command(command: Command) -> Iterator[str]:
    yield from _head(_page(command), command.summary)
    yield ".SH SYNOPSIS"
    shown = [each for each in command.all() if each.arguments and not (each is command and _only_groups(command))]
    for number, each in enumerate(shown):
        if number:
            yield ".br"
        yield _synopsis(each)
    yield ".SH DESCRIPTION"
    yield _sentence(command.summary)
    yield from _options(command, ".SH OPTIONS")
    if command.commands:
        yield ".SH COMMANDS"
        for each in command.commands:
            yield f".SS {quoted(' '.join(each.words[2:]))}"
            yield _sentence(each.description or each.summary)
            yield from _options(each, "")
            if each.example:
                yield from (".PP", "Example:", ".PP", ".EX", quoted(each.example), ".EE")
    yield from (".SH EXAMPLE", ".EX", quoted(command.example), ".EE")
    yield from (".SH SEE ALSO", rf".BR rondo ({SECTION})")


def _only_groups(command: Command) -> bool:
    """True if the command does nothing without one of its sub-commands."""
    return bool(command.commands) and all(argument.names == ("-h", "--help") for argument in command.arguments)


def _head(name: str, summary: str) -> Iterator[str]:
    yield rf'.TH {quoted(name.upper())} {SECTION} "" "Rondo {rondo.__version__}" "Rondo"'
    yield from (".SH NAME", rf"{quoted(name)} \- {quoted(summary)}")


def _synopsis(command: Command) -> str:
    parts = [rf"\fB{quoted(' '.join(command.words))}\fR"]
    parts.extend(_usage(option) for option in command.options if option.names != ("-h", "--help"))
    for argument in command.positionals:
        shown = _value(argument)
        parts.append(shown if argument.is_required or argument.kind is Kind.COMMAND_LINE else f"[{shown}]")
    return "\n".join(parts)


def _usage(option: Argument) -> str:
    shown = rf"\fB{quoted(option.names[-1])}\fR" + (f" {_value(option)}" if option.metavar else "")
    return shown if option.is_required else f"[{shown}]"


def _value(argument: Argument) -> str:
    return rf"\fI{quoted(argument.metavar)}\fR"


def _options(command: Command, heading: str) -> Iterator[str]:
    """A paragraph for each option and argument with a help text."""
    if heading:
        yield heading
    for argument in command.arguments:
        names = ", ".join(rf"\fB{quoted(name)}\fR" for name in argument.names)
        yield ".TP"
        yield f"{names} {_value(argument)}".strip() if argument.metavar else names
        choices = f"One of {', '.join(argument.choices)}." if argument.choices else ""
        yield quoted(" ".join(part for part in (_ended(argument.help), choices) if part)) or r"\&"


def _sentence(text: str) -> str:
    return quoted(_ended(text[:1].upper() + text[1:]))


def _ended(text: str) -> str:
    return text if not text or text.endswith(".") else f"{text}."


def quoted(plain: str) -> str:
    """Text of a page with roff's special characters escaped. A hyphen that is typed is a minus in roff."""
    escaped = " ".join(plain.split()).replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped


def main(arguments: list[str] | None = None) -> int:
    """Write every page into a directory."""
    parser = argparse.ArgumentParser(prog="python -m rondo.cli.manual", description="Write the man pages.")
    parser.add_argument("directory", type=Path, metavar="DIRECTORY")
    directory: Path = parser.parse_args(arguments).directory
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (directory / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
