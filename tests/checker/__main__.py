"""Print which property finds which of the faults that the checker is tested with: python -m tests.checker."""

from __future__ import annotations

from tests.checker.judge import check
from tests.checker.mutations import MUTATIONS
from tests.checker.stories import LIMITS


def main() -> None:
    """One line a fault: the property it is meant for, those that find it, and what it is."""
    for mutation in MUTATIONS:
        _, bad = mutation.traces()
        found = sorted({violation.prop for violation in check(bad, limits=LIMITS)})
        print(f"{mutation.prop:>4}  {','.join(found) or '-':<16}  {mutation.name}")


if __name__ == "__main__":
    main()
