"""Command line of the random world of process groups.

Examples:
    python -m tests.unit.cpg --seeds 4000 --jobs 2
    python -m tests.unit.cpg --seed 897
"""

from __future__ import annotations

import argparse
import sys

from tests.unit.cpg.many import run_seeds


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def main() -> int:
    """The exit code: 0 if every property holds, 1 if not, 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.unit.cpg", description="The random world of process groups.",
        epilog="example: python -m tests.unit.cpg --seeds 4000 --jobs 2",
    )  # fmt: skip
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seeds", type=_positive, metavar="N", help="run N seeds")
    which.add_argument("--seed", type=int, metavar="S", help="run this seed alone")
    parser.add_argument(
        "--from", type=int, default=0, dest="first", metavar="S", help="first of the N seeds (default 0)"
    )
    parser.add_argument("--jobs", type=_positive, default=1, metavar="J", help="processes (default 1)")
    options = parser.parse_args()
    if options.seed is not None:
        return run_seeds(range(options.seed, options.seed + 1), jobs=1)
    return run_seeds(range(options.first, options.first + options.seeds), options.jobs)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
