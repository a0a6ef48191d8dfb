"""Completion of `rondo` in shells: a script for each, made of the parsers (`rondo.cli.tree`)."""

from rondo.cli.completion import bash, fish, zsh
from rondo.cli.tree import tree

SHELLS = {"bash": bash.script, "fish": fish.script, "zsh": zsh.script}


def script(shell: str) -> str:
    """What the shell, one of `SHELLS`, is to read."""
    return SHELLS[shell](tree())
