"""Run many seeds over several processes: show the progress, print the distributions, and give the verdict."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, TextIO

from tests.simulation.marks import MARKS
from tests.simulation.minimise import minimise, replay_command
from tests.simulation.plan import make_plan
from tests.simulation.run import Report, run_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

SEEDS_FOR_MARKS = 200
"""A run of at least so many seeds must reach every mark."""
_BAR = 30
_FAILURES_SHOWN = 5


class Progress:
    """How far a run is: a bar on a terminal, else a line now and then."""

    def __init__(self, total: int, stream: TextIO) -> None:
        self._total = total
        self._stream = stream
        self._bar = stream.isatty()
        self._began = time.monotonic()
        self._shown_at = 0.0

    def show(self, done: int, failed: int) -> None:
        """Show the progress, if enough time has passed since it was last shown."""
        now = time.monotonic()
        if now - self._shown_at < (0.1 if self._bar else 10) and done < self._total:
            return
        first, self._shown_at = self._shown_at == 0.0, now
        if first and not self._bar and done < self._total:
            return
        spent = now - self._began
        left = spent / done * (self._total - done)
        text = f"{done}/{self._total} seeds, {failed} failed, {spent:.0f} s, {left:.0f} s to go"
        if self._bar:
            filled = _BAR * done // self._total
            end = "\n" if done == self._total else ""
            self._stream.write(f"\r[{'#' * filled}{'.' * (_BAR - filled)}] {text}\x1b[K{end}")
        else:
            self._stream.write(text + "\n")
        self._stream.flush()


def run_swarm(seeds: range, jobs: int, digests: Path | None = None) -> int:
    """Run these seeds and print what came of them. The exit code: 0 if no seed failed and no mark is missing, 1 if not.

    `digests`: a file that gets a line for each seed, its number and the digest of its trace. Two versions of the ring
    that behave alike leave the same file. Raises OSError if the file cannot be written.
    """
    progress = Progress(len(seeds), sys.stderr)
    reports: list[Report] = []
    failed: list[Report] = []
    began = time.monotonic()
    for report in _reports(seeds, jobs, with_digest=digests is not None):
        reports.append(report)
        if report.failures:
            failed.append(report)
        progress.show(len(reports), len(failed))
    print(summary(reports, time.monotonic() - began))
    if digests is not None:
        digests.write_text("".join(f"{each.seed} {each.digest}\n" for each in sorted(reports, key=lambda r: r.seed)))
    missing = missing_marks(reports)
    for report in sorted(failed, key=lambda each: each.seed)[:_FAILURES_SHOWN]:
        print(explain(report))
    if len(failed) > _FAILURES_SHOWN:
        print(f"more seeds failed: {sorted(report.seed for report in failed)}")
    if missing:
        print(f"FAILED: no seed reached {', '.join(missing)}")
    if not failed and not missing:
        print(f"all {len(reports)} seeds hold every property")
    return 1 if failed or missing else 0


def _reports(seeds: range, jobs: int, *, with_digest: bool) -> Iterator[Report]:
    """The report of each seed, as soon as its run is over."""
    run = partial(run_seed, with_digest=with_digest)
    if jobs <= 1 or len(seeds) == 1:
        yield from map(run, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(min(jobs, len(seeds))) as pool:
        yield from pool.imap_unordered(run, seeds, chunksize=1)


def missing_marks(reports: Iterable[Report]) -> list[str]:
    """Marks that no seed reached. Empty if there are fewer than SEEDS_FOR_MARKS seeds."""
    reports = list(reports)
    reached = set().union(*(report.marks for report in reports)) if reports else set()
    return [mark for mark in MARKS if mark not in reached] if len(reports) >= SEEDS_FOR_MARKS else []


def explain(report: Report, without: frozenset[int] = frozenset()) -> str:
    """What is wrong with a run, and the command that repeats it: as it was and, if possible, made smaller."""
    lines = [f"seed {report.seed} FAILED", *(f"  {line}" for text in report.failures for line in text.splitlines())]
    lines.append(f"  replay: {replay_command(report.seed, without)}")
    without = without or frozenset(minimise(report))
    if without:
        plan = make_plan(report.seed)
        kept = [item for i, item in enumerate(plan.items) if i not in without]
        lines.append(
            f"  with {len(kept)} of {len(plan.items)} faults and bursts: {replay_command(report.seed, without)}"
        )
        lines.extend(f"    {op.at_ms:9.1f} ms  {op.name}{op.args}" for item in kept for op in item.ops)
    return "\n".join(lines)


def summary(reports: list[Report], wall_s: float) -> str:
    """The distributions over all seeds, as a text for the terminal."""
    rows: list[tuple[str, Callable[[Report], float]]] = [
        ("nodes", lambda r: r.nodes),
        ("faults", lambda r: r.faults),
        ("messages submitted", lambda r: r.messages),
        ("messages delivered", lambda r: r.deliveries),
        ("rings formed", lambda r: r.rings),
        ("virtual seconds", lambda r: r.virtual_s),
        ("ms to converge at the end", lambda r: r.converged_ms),
        ("steps", lambda r: r.steps),
        ("trace events", lambda r: r.events),
        ("wall seconds", lambda r: r.wall_s),
    ]
    lines = [
        f"{len(reports)} seeds in {wall_s:.1f} s",
        f"{'per seed':26}{'min':>10}{'median':>10}{'p90':>10}{'max':>10}",
    ]
    for name, value in rows:
        values = sorted(map(value, reports))
        picked = (values[0], values[len(values) // 2], values[len(values) * 9 // 10], values[-1])
        lines.append(f"{name:26}" + "".join(f"{v:10.{2 if name == 'wall seconds' else 0}f}" for v in picked))
    sizes = Counter(report.nodes for report in reports)
    lines.append("seeds by nodes   " + "  ".join(f"{size}:{sizes[size]}" for size in sorted(sizes)))
    faults = sum((report.fault_kinds for report in reports), Counter[str]())
    lines.append("faults by kind   " + "  ".join(f"{kind}:{n}" for kind, n in sorted(faults.items())))
    marks = Counter(mark for report in reports for mark in report.marks)
    lines.append("marks: seeds that reached them")
    lines.extend(f"  {marks[mark]:6}  {mark:30}{text}" for mark, text in MARKS.items())
    return "\n".join(lines)
