"""Make sure that standard input, output and error are open, whatever the caller has done to them.

If one of them is closed, the next file or socket gets its number. Whatever is written to standard error then ends up in
that file. A descriptor that a child inherits under that number is replaced on the way.
"""

import os
import sys


def fill_standard() -> None:
    """Open `/dev/null` for those of 0, 1 and 2 that are closed. Call it before anything else opens a file."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        os.set_inheritable(descriptor, True)
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
    # Python has set those that were closed to None.
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
