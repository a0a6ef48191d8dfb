"""Two versions of Rondo beside each other: python -m bench.compare REF [--parts PART,...] [--rounds N] [BENCH OPTIONS]

Each version is measured by its own `python -m bench`, one sample of each in turns, so that what else happens on the
machine hits both. A ratio is the median of the ratios of pairs; a cell is called worse or better only where every
pair says so.

    make bench-compare REF=HEAD~20
    python -m bench.compare v0.1.0 --parts latency --rounds 9
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.parts.catalogue import PARTS
from bench.plan import progress
from bench.report import label_text, row_of, table, value_text
from bench.results import REPOSITORY, PartResult, load_all
from bench.statistics import Series, paired_ratio

TREES = REPOSITORY / "build" / "compare"
COPY = Path("build", "compiled")
"""Where `make compiled` leaves what is measured. Versions up to 0.1.0 had it in the tree itself."""
PAIRS_MIN = 3
"""Fewer pairs say nothing."""
RATES = ("messages/s",)
"""Units of which more is better."""
SYSTEM = "rondo"


class CompareError(Exception):
    """A version cannot be had or measured; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Version:
    """A checkout with its environment, and where its results go."""

    name: str
    tree: Path
    out: Path

    def measure(self, parts: str, options: Sequence[str]) -> None:
        """Add one sample of everything. Raises CompareError."""
        python = self.tree / ".venv" / "bin" / "python"
        place = self.tree / COPY if (self.tree / COPY).is_dir() else self.tree
        words = ["--quick", "--parts", parts, "--systems", SYSTEM, "--rounds", "1", "--out", str(self.out), "--add"]
        done = subprocess.run([python, "-m", "bench", *words, *options], cwd=place, capture_output=True, text=True)
        if done.returncode:
            raise CompareError(f"{self.name}: the bench failed:\n{done.stderr[-2000:]}")


def checkout(ref: str) -> Version:
    """The other version, set up and compiled. Raises CompareError."""
    git = ["git", "-C", str(REPOSITORY)]
    found = subprocess.run([*git, "rev-parse", "--short", f"{ref}^{{commit}}"], capture_output=True, text=True)
    if found.returncode:
        raise CompareError(f"{ref}: no commit of this repository")
    name = found.stdout.strip()
    tree = TREES / name
    if not tree.exists():
        progress(f"checking out {ref} ({name})")
        added = subprocess.run([*git, "worktree", "add", "--detach", str(tree), name], capture_output=True, text=True)
        if added.returncode:
            raise CompareError(f"{ref}: cannot be checked out: {added.stderr.strip()}; `git worktree prune` may help")
    progress(f"setting up {name}")
    made = subprocess.run(["make", "-C", str(tree), "compiled"], capture_output=True, text=True)
    if made.returncode:
        raise CompareError(f"{name}: `make compiled` failed:\n{made.stderr[-2000:]}")
    return Version(name, tree, TREES / f"{name}.results")


def comparison(before: Sequence[PartResult], now: Sequence[PartResult]) -> str:
    """One table for each part that both have."""
    texts = []
    earlier = {result.part: result for result in before}
    for result in now:
        if result.part in earlier:
            texts += [f"## {result.title}", part_comparison(earlier[result.part], result)]
    return "\n\n".join(texts) + "\n"


def part_comparison(before: PartResult, now: PartResult) -> str:
    """Medians with spreads, the ratio of pairs, and what all pairs say."""
    known = {series.key: series for series in before.series}
    rows = []
    for series in now.series:
        other = known.get(series.key)
        if other is None:
            continue
        labels = [label_text(name, value) for name, value in zip(now.rows, row_of(series, now.rows), strict=True)]
        ratio = paired_ratio(series.samples, other.samples)
        rows.append([
            *labels, value_text(other), value_text(series), "-" if ratio is None else f"{ratio:.3f} x",
            verdict(other, series),
        ])  # fmt: skip
    return table([*now.rows, f"before ({before.version})", f"now ({now.version})", "now / before", "every pair"], rows)


def verdict(before: Series, now: Series) -> str:
    """What every pair of samples says: better, worse; nothing if they disagree."""
    pairs = list(zip(now.samples, before.samples, strict=False))
    more_is_better = now.unit in RATES
    if len(pairs) < PAIRS_MIN:
        return ""
    if all(a > b for a, b in pairs):
        return "better" if more_is_better else "worse"
    if all(a < b for a, b in pairs):
        return "worse" if more_is_better else "better"
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure both and print the comparison; returns the exit code."""
    options, rest = _parser().parse_known_args(arguments)
    try:
        versions = [checkout(options.ref), Version("this tree", REPOSITORY, TREES / "this.results")]
        for version in versions:
            shutil.rmtree(version.out, ignore_errors=True)
        for turn in range(options.rounds):
            for version in versions if turn % 2 == 0 else reversed(versions):
                progress(f"round {turn + 1} of {options.rounds}: {version.name}")
                version.measure(options.parts, rest)
        before, now = (load_all(version.out, tuple(PARTS)) for version in versions)
    except (CompareError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(comparison(before, now))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ref", metavar="REF", help="the commit, tag or branch to compare this tree with")
    parser.add_argument("--parts", default="throughput,latency", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="samples of each version (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
