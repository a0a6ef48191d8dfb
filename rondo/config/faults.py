"""What can be wrong with a configuration, and how it is said: one line with place, key, reason and mend."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]

SHOWN_CHARACTERS_MAX = 60
"""Of something that was read only so much is repeated in a message."""


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
    """One thing that is wrong (`error`: the node will not start) or has no effect (`warning`)."""

    severity: Severity
    place: Place | None
    key: str
    """The option as the documentation writes it, `totem.interface.mcastport`, or empty."""
    why: str
    mend: str
    """What to do about it, as an instruction; may be empty for a warning that needs no action."""

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
    """`text` such that it can stand in one line of a terminal or a log: control characters are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def quoted(text: str) -> str:
    """Something that was read, for a message: in quotes, on one line, cut to a bearable length."""
    shown = text if len(text) <= SHOWN_CHARACTERS_MAX else text[:SHOWN_CHARACTERS_MAX] + "..."
    return f"'{one_line(shown)}'"
