"""Shell completion for `rondo`: one script for each shell, generated from the parsers (`rondo.cli.tree`)."""

from rondo.cli.completion import bash, fish, zsh
from rondo.cli.tree import tree

SHELLS = {"bash": bash.script, "fish": fish.script, "zsh": zsh.script}


def script(shell: str) -> str:
    """The completion script for a shell, one of `SHELLS`."""
    return SHELLS[shell](tree())
