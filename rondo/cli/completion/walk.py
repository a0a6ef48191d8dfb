"""Common to the scripts of all shells: cases over `COMMAND WORD`, by which a script follows the typed words.

A script goes over the words before the one to complete, with the command so far in `place`. If `place word` is one of
`places`, the word is a sub-command. If it is one of `with_value`, the word is an option and its value follows. Any
other word is an option, or a positional argument, which is counted. `--` ends this: a program and its arguments follow.
"""

from collections.abc import Iterator

from rondo.cli.tree import Argument, Command, Kind


def places(whole: Command) -> list[str]:
    """All commands below `rondo`, with their full path."""
    return [place(command) for command in whole.all()][1:]


def place(command: Command) -> str:
    return " ".join(command.words)


def with_value(whole: Command) -> list[str]:
    """Every option that takes a value, after its command."""
    return [pattern for command in whole.all() for option in command.options if option.metavar
            for pattern in patterns(command, option)]  # fmt: skip


def patterns(command: Command, option: Argument) -> list[str]:
    """`COMMAND OPTION` for each name of the option."""
    return [f"{place(command)} {name}" for name in option.names]


def values(whole: Command, *kinds: Kind) -> Iterator[tuple[list[str], Argument]]:
    """The words to match, and the values that they take.

    Options with a value are matched as `COMMAND OPTION`, positional arguments as `COMMAND NUMBER`, counted from 0.
    """
    for command in whole.all():
        for option in command.options:
            if option.kind in kinds:
                yield patterns(command, option), option
        for number, argument in enumerate(command.positionals):
            if argument.kind in kinds:
                yield [f"{place(command)} {number}"], argument


def words(command: Command) -> list[tuple[str, str]]:
    """Options and sub-commands of a command, each with its line of help."""
    options = [(name, option.help) for option in command.options for name in option.names]
    return [(below.words[-1], below.summary) for below in command.commands] + options
