"""A configuration that was read: its options, the place of each, and the warnings."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from rondo.config.faults import Fault, Place
from rondo.config.schema_node import Config

OptionPath = tuple[str | int, ...]
"""The path of an option in the model: ("totem", "interface", 0, "mcastport")."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The result of `load`: without errors, but not yet applied to a machine (`resolve` does that)."""

    config: Config
    file: str
    """Absolute path. Empty if no configuration file exists and none was named."""
    node_id: int | None = None
    """Which node this is, if the command line says so."""
    places: Mapping[OptionPath, Place] = field(default_factory=dict)
    """The place of each option and section in the file."""
    warnings: tuple[Fault, ...] = ()

    def given(self, *path: str | int) -> bool:
        """True if the option is in the file."""
        return path in self.places

    def place(self, *path: str | int) -> Place:
        """The place of an option, or of the nearest section around it that is in the file."""
        for length in range(len(path), 0, -1):
            if found := self.places.get(path[:length]):
                return found
        return Place(self.file)

    def fault(self, severity: Literal["error", "warning"], path: OptionPath, why: str, mend: str = "") -> Fault:
        """A fault of the option at `path`."""
        return Fault(severity, self.place(*path), option_name(path), why, mend)

    def warned(self, warnings: tuple[Fault, ...]) -> "Loaded":
        """A copy with these warnings."""
        return replace(self, warnings=warnings)


def option_name(path: OptionPath) -> str:
    """The option as the documentation writes it: `totem.interface.mcastport`."""
    return ".".join(part for part in path if isinstance(part, str))
