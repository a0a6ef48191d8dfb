"""What the scripts for all shells have in common: cases over `COMMAND WORD`, by which a script follows what was typed.

A script goes over the words before the one that is completed, with the command so far in `place`. A word that makes
`place word` one of `places` is a sub-command; one of `with_value` is an option whose value comes next; any other one is
a positional argument, which it counts, or an option. `--` ends that: a program and its arguments follow.
"""

from collections.abc import Iterator

from rondo.cli.tree import Argument, Command, Kind


def places(whole: Command) -> list[str]:
    """All commands below `rondo`, with what is before them."""
    return [place(command) for command in whole.all()][1:]


def place(command: Command) -> str:
    return " ".join(command.words)


def with_value(whole: Command) -> list[str]:
    """Every option that takes a value, behind its command."""
    return [pattern for command in whole.all() for option in command.options if option.metavar
            for pattern in patterns(command, option)]  # fmt: skip


def patterns(command: Command, option: Argument) -> list[str]:
    """`COMMAND OPTION` for each name of the option."""
    return [f"{place(command)} {name}" for name in option.names]


def values(whole: Command, *kinds: Kind) -> Iterator[tuple[list[str], Argument]]:
    """What to look for, and what it takes.

    Options with a value of these kinds are looked for as `COMMAND OPTION`, positional arguments as `COMMAND NUMBER`,
    counted from 0.
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
