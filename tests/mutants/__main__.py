"""Command line of the mutants.

Examples:
    python -m tests.mutants --jobs 2
    python -m tests.mutants --only cpg/core
    python -m tests.mutants --list
"""

from __future__ import annotations

import argparse
import sys

from tests.mutants.run import ROOT, run_mutants
from tests.mutants.table import MUTANTS, faults


def main() -> int:
    """The exit code: 0 if every mutant that matters is noticed, 1 if not, 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants", description="Break the core one place at a time: do the tests notice?",
        epilog="example: python -m tests.mutants --only services/cpg --jobs 2",
    )  # fmt: skip
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="how many at once (default 1)")
    parser.add_argument("--only", default="", metavar="TEXT", help="those whose file or rule holds this text")
    parser.add_argument("--list", action="store_true", help="print the table and run nothing")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    if wrong := faults(ROOT):
        print("\n".join(f"error: {fault}" for fault in wrong), file=sys.stderr)
        return 1
    mutants = [mutant for mutant in MUTANTS if options.only in mutant.file or options.only in mutant.rule]
    if not mutants:
        parser.error(f"no mutant is of {options.only!r}")
    if options.list:
        for mutant in mutants:
            print(f"{mutant.area.name.lower():10}{mutant.file}: {mutant.rule}")
        return 0
    return run_mutants(mutants, options.jobs)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
