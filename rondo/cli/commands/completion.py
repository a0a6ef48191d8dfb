"""`rondo completion`: prints the completion script for a shell."""

import argparse

from rondo.cli.output import Parser

HELP = "print the script by which a shell completes the words of this command"
EXAMPLE = 'eval "$(rondo completion bash)"'


def add_arguments(parser: Parser) -> None:
    parser.add_argument("shell", choices=("bash", "fish", "zsh"), metavar="SHELL", help="bash, fish, zsh")


def run(arguments: argparse.Namespace) -> int:
    # Imported here: it imports every command.
    from rondo.cli.completion import script

    print(script(arguments.shell), end="")
    return 0
