"""The entry point of `rondo`. It imports at first only what Python has loaded already: Ctrl-C ends it without a
traceback from its first moment on, also while the rest is being imported."""

import sys
from collections.abc import Sequence

INTERRUPTED_EXIT_CODE = 130
"""128 and the number of SIGINT, as shells have it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `rondo ARGUMENTS` (None: those of the process); returns the exit code."""
    try:
        from rondo.cli.dispatch import dispatch

        return dispatch(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT_CODE


if __name__ == "__main__":
    sys.exit(main())
