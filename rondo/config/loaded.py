"""A configuration that was read: its options, where each stands, and what was found odd about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from rondo.config.faults import Fault, Place
from rondo.config.schema_node import Config

OptionPath = tuple[str | int, ...]
"""Where an option is in the model: ("totem", "interface", 0, "mcastport")."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What `load` gives: free of errors, but not yet tied to a machine (`resolve` does that)."""

    config: Config
    file: str
    """Absolute path; empty if there is no configuration file and none was named."""
    node_id: int | None = None
    """Which node this is, if somebody said so on the command line."""
    places: Mapping[OptionPath, Place] = field(default_factory=dict)
    """Where each option and section that was given stands."""
    warnings: tuple[Fault, ...] = ()

    def given(self, *path: str | int) -> bool:
        """Whether the option stands in the file."""
        return path in self.places

    def place(self, *path: str | int) -> Place:
        """Where an option stands, or else the nearest section around it that does."""
        for length in range(len(path), 0, -1):
            if found := self.places.get(path[:length]):
                return found
        return Place(self.file)

    def fault(self, severity: Literal["error", "warning"], path: OptionPath, why: str, mend: str = "") -> Fault:
        """A fault of the option at `path`."""
        return Fault(severity, self.place(*path), option_name(path), why, mend)

    def warned(self, warnings: tuple[Fault, ...]) -> "Loaded":
        """The same with these warnings."""
        return replace(self, warnings=warnings)


def option_name(path: OptionPath) -> str:
    """The option as the documentation writes it: `totem.interface.mcastport`."""
    return ".".join(part for part in path if isinstance(part, str))
