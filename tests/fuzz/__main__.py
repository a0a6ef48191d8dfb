"""Fuzz all decoders, or some: python -m tests.fuzz --seconds 60 [TARGET ...]. Exit 1 if something was found.

Needs atheris: pip install '.[fuzz]'. The inputs that reached something new are kept in --corpus, and taken up again by
the next run.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.lines import lines_of, reached
from tests.fuzz.targets import TARGETS

EXECUTIONS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
LINES_PERCENT_MIN = 95.0
OVERTIME_S = 120


@dataclass(frozen=True)
class Result:
    """What came of one target."""

    name: str
    executions: int
    lines: int
    lines_reached: int
    missed: list[str]
    found: list[Path]
    output: str

    @property
    def percent(self) -> float:
        """Of the lines."""
        return 100 * self.lines_reached / self.lines if self.lines else 100.0

    @property
    def holds(self) -> bool:
        """Whether nothing was found and enough was reached."""
        return not self.found and self.executions > 0 and self.percent >= LINES_PERCENT_MIN


def fuzz(name: str, seconds: int, corpus: Path) -> Result:
    """One target, in a process of its own."""
    place = corpus / name
    command = [sys.executable, "-m", "tests.fuzz.one", name, "--seconds", str(seconds), "--corpus", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + OVERTIME_S, check=False)
    counted = EXECUTIONS.search(done.stderr)
    target = TARGETS[name]
    inputs = [path.read_bytes() for path in sorted(place.iterdir())]
    wanted, seen = lines_of(target), reached(target, inputs)
    missed = [f"{Path(file).name}:{line}" for file, line in sorted(wanted - seen)]
    found = sorted(corpus.glob(f"{name}.found-*"))
    executions = int(counted.group(1)) if counted else 0
    return Result(name, executions, len(wanted), len(wanted & seen), missed, found, done.stderr[-3000:])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default 60)")
    parser.add_argument("--corpus", type=Path, default=Path("/tmp/rondo-fuzz"), help="default /tmp/rondo-fuzz")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time (default 1)")
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("error: atheris is not installed; pip install '.[fuzz]'", file=sys.stderr)
        return 2
    names = options.targets or list(TARGETS)
    if unknown := set(names) - TARGETS.keys():
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(lambda name: fuzz(name, options.seconds, options.corpus), names))
    print(f"{'decoder':<10} {'executions':>12} {'lines':>11} {'reached':>8}  missed")
    for each in results:
        lines = f"{each.lines_reached}/{each.lines}"
        print(f"{each.name:<10} {each.executions:>12,} {lines:>11} {each.percent:>7.1f}%  {' '.join(each.missed[:8])}")
        for path in each.found:
            print(f"    found: {path}")
        if each.found or not each.executions:
            print(each.output)
    return 0 if all(each.holds for each in results) else 1


if __name__ == "__main__":
    sys.exit(main())
