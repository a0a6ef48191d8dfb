"""Standard output of a command whose failures carry its name: what cannot be written there is told, never swallowed.

A full disk behind `rondo status > file` must not look like success, and "No space left on device" alone does not say
where. So the file at the bottom of sys.stdout puts "standard output" into each error, as the name of the file.
"""

import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STANDARD_OUTPUT = "standard output"
UNDECODABLE = "backslashreplace"
"""File names need not be UTF-8."""


class _NamedOutput(io.FileIO):
    """Descriptor 1."""

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            error.filename = STANDARD_OUTPUT
            raise


def name_standard_output() -> None:
    """Put the named file under sys.stdout. A stream that somebody else has put there is left as it is."""
    if sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        buffer = io.BufferedWriter(_NamedOutput(1, "w", closefd=False))
        is_line_buffered = sys.stdout.line_buffering or sys.stdout.write_through  # PYTHONUNBUFFERED
        sys.stdout = io.TextIOWrapper(buffer, sys.stdout.encoding, UNDECODABLE, line_buffering=is_line_buffered)
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=UNDECODABLE)


def give_up(descriptor: int) -> None:
    """Lead it to nowhere. What its stream still holds would fail once more when Python flushes it at its exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
