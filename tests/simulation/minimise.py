"""Make a failing run smaller: leave out faults and bursts of messages while it still fails. The time is bounded."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.simulation.plan import make_plan
from tests.simulation.run import run_seed

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.simulation.run import Report

_SECONDS_MAX = 20.0


def replay_command(seed: int, without: Collection[int] = ()) -> str:
    """The command that repeats this run: the seed, without these items of its plan."""
    if not without:
        return f"make sim SEED={seed}"
    return f"python -m tests.simulation run --seed {seed} --without {','.join(map(str, sorted(without)))}"


def _symptom(report: Report) -> str | None:
    """The kind of the first failure: the violated property, or the last line of an exception. None: no failure."""
    if not report.failures:
        return None
    first = report.failures[0]
    return first.splitlines()[-1][:40] if first.startswith("Traceback") else first[:8]


def minimise(report: Report) -> set[int]:
    """Indexes of the plan's items without which the seed fails in the same way."""
    symptom = _symptom(report)
    end = time.monotonic() + _SECONDS_MAX
    total = len(make_plan(report.seed).items)
    without: set[int] = set()
    chunk = max(1, total // 2)
    while True:
        start = 0
        while start < total:
            candidate = without | set(range(start, min(total, start + chunk)))
            if time.monotonic() > end:
                return without
            if candidate != without and _symptom(run_seed(report.seed, candidate)) == symptom:
                without = candidate
            start += chunk
        if chunk == 1:
            return without
        chunk = max(1, chunk // 2)
