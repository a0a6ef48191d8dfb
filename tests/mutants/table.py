"""The whole table, and whether it still fits the code."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.mutants import clients, control, groups, recipes, ring, security

if TYPE_CHECKING:
    from pathlib import Path

MUTANTS = (*ring.MUTANTS, *security.MUTANTS, *groups.MUTANTS, *clients.MUTANTS, *control.MUTANTS, *recipes.MUTANTS)


def faults(root: Path) -> list[str]:
    """What does not fit, one line each: a text that does not stand in its file exactly once, a mutant named twice."""
    found = [fault for mutant in MUTANTS if (fault := mutant.fault(root)) is not None]
    times = Counter((mutant.file, mutant.new, mutant.old) for mutant in MUTANTS)
    return found + [f"{file}: {new!r} is there {n} times" for (file, new, _), n in times.items() if n > 1]
