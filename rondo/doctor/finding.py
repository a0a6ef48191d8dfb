"""The result of a check: one fact about one thing, with the remedy if something is wrong."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Level(StrEnum):
    """The severity of a finding."""

    OK = "ok"
    WARN = "warn"
    """The node works, but not as well or as safely as it could."""
    FAULT = "fault"
    """The node does not work, or will not."""


_ORDER = (Level.FAULT, Level.WARN, Level.OK)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `rondo doctor`."""

    check: str
    level: Level
    what: str
    where: str = ""
    """File and line, address, directory, process."""
    mend: str = ""
    """The remedy, as an instruction; empty if none is needed."""

    def as_json(self) -> dict[str, str]:
        """For `rondo doctor --json`."""
        return {name: str(value) for name, value in asdict(self).items()}


def ok(check: str, what: str, where: str = "") -> Finding:
    """Make a finding that needs no remedy."""
    return Finding(check, Level.OK, what, where)


def warn(check: str, what: str, where: str = "", mend: str = "") -> Finding:
    """Make a finding of something that could be better."""
    return Finding(check, Level.WARN, what, where, mend)


def fault(check: str, what: str, where: str = "", mend: str = "") -> Finding:
    """Make a finding of something that has to be repaired."""
    return Finding(check, Level.FAULT, what, where, mend)


def worst_first(findings: list[Finding]) -> list[Finding]:
    """Faults, then warnings, then the rest. Within a level the order of the checks is kept."""
    return sorted(findings, key=lambda finding: _ORDER.index(finding.level))
