"""Faults of a configuration and their text: one line with place, key, reason and remedy."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]

SHOWN_CHARACTERS_MAX = 60
"""How much of a value that was read is repeated in a message."""


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file; line 0 is the file as a whole."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        shown = one_line(self.file)
        return f"{shown}:{self.line}" if self.line else shown


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault (`error`: the node will not start), or something without effect (`warning`)."""

    severity: Severity
    place: Place | None
    key: str
    """The option as the documentation writes it, `totem.interface.mcastport`; may be empty."""
    why: str
    mend: str
    """The remedy, as an instruction. It may be empty for a warning that needs no action."""

    def __str__(self) -> str:
        parts = [str(self.place)] if self.place else []
        parts += [self.key] if self.key else []
        parts.append(f"{self.why}; {self.mend}" if self.mend else self.why)
        return ": ".join(parts)


class ConfigError(Exception):
    """A configuration that cannot be used. `faults` has every error that was found, in the order of the file."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__(self.faults)

    def __str__(self) -> str:
        more = len(self.faults) - 1
        return f"{self.faults[0]}" + (f" (and {more} more; see `rondo config check`)" if more else "")


def one_line(text: str) -> str:
    """`text` on one line of a terminal or a log: control characters are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def quoted(text: str) -> str:
    """A text that was read, for a message: in quotes, on one line, shortened."""
    shown = text if len(text) <= SHOWN_CHARACTERS_MAX else text[:SHOWN_CHARACTERS_MAX] + "..."
    return f"'{one_line(shown)}'"
