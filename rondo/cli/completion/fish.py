"""The script for fish, with a line of help beside each word."""

from collections.abc import Iterable, Iterator

from rondo.cli.completion import walk
from rondo.cli.tree import Argument, Command, Kind

HEAD = """\
# Completion of rondo(1) for fish. Made by: rondo completion fish
function __rondo_place --description 'The command so far, and how many positional arguments follow it'
    set -l place rondo
    set -l number 0
    set -l skip no
    set -l typed (commandline -opc)
    for word in $typed[2..]
        if test $skip = yes
            set skip no
        else if test "$word" = --
            echo "$place --"
            return
        else if contains -- "$place $word" {with_value}
            set skip yes
        else if contains -- "$place $word" {places}
            set place "$place $word"
            set number 0
        else if not string match -q -- '-*' $word
            set number (math $number + 1)
        end
    end
    echo "$place"
    echo "$place $number"
end
function __rondo_at
    contains -- "$argv" (__rondo_place)
end
complete -c rondo -f
"""
FILES = {Kind.FILE: "-F", Kind.DIRECTORY: "-a '(__fish_complete_directories)'"}


def script(whole: Command) -> str:
    """For a file `rondo.fish` in a directory of $fish_complete_path, or for `source`."""
    head = HEAD.format(with_value=_list(walk.with_value(whole)), places=_list(walk.places(whole)))
    lines = [line for command in whole.all() for line in _of_command(command)]
    return head + "\n".join(lines) + "\n"


def _of_command(command: Command) -> Iterator[str]:
    place = walk.place(command)
    at = f"complete -c rondo -n {_quoted(f'__rondo_at {place}')}"
    for below in command.commands:
        yield f"{at} -a {_quoted(below.words[-1])} -d {_quoted(below.summary)}"
    for option in command.options:
        names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
        yield " ".join(part for part in (at, names, _value(option), f"-d {_quoted(option.help)}") if part)
    for number, argument in enumerate(command.positionals):
        if argument.kind is Kind.COMMAND_LINE:
            yield f"complete -c rondo -n {_quoted(f'__rondo_at {place} --')} -F -a '(complete -C (commandline -ct))'"
        elif argument.kind is not Kind.TEXT:
            offer = _value(argument).removeprefix("-x ").removeprefix("-r ")
            yield f"complete -c rondo -n {_quoted(f'__rondo_at {place} {number}')} {offer}"


def _value(argument: Argument) -> str:
    if argument.kind is Kind.FLAG:
        return ""
    if argument.kind is Kind.CHOICE:
        return f"-x -a {_quoted(' '.join(argument.choices))}"
    return f"-r {FILES[argument.kind]}" if argument.kind in FILES else "-x"


def _list(patterns: Iterable[str]) -> str:
    return " ".join(_quoted(pattern) for pattern in patterns)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
