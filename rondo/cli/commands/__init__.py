"""The sub-commands of `rondo`, one module each: adding a file adds a command. Only the called one is imported.

A module `cpg` is the command `rondo cpg`; it has

    HELP = "one line for `rondo --help`"
    EXAMPLE = "rondo cpg join bank --json"           # shown by `rondo cpg --help`
    def add_arguments(parser: Parser) -> None: ...   # argparse; sub-commands by parser.add_subparsers
    def run(arguments: argparse.Namespace) -> int    # the exit code: 0 done, 1 refused or failed

`run` raises `CommandError` (or ConfigError, PathError, OSError) for faults that the user can cause: one line on
standard error and exit code 1. argparse reports wrong usage, with exit code 2. Underscores in a module's name are
hyphens on the command line. A module whose name begins with an underscore is no command.
"""
