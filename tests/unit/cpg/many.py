"""Many seeds of the random world of process groups, or one of them again.

Every fourth seed is a storm: five nodes and a fault in every tenth turn. Messages of 65 bytes and more are long ones,
so that ring changes and kills meet messages of which only some parts are ordered.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rondo.protocol import events as ev
from services.cpg import wire
from tests.simulation.swarm import Progress
from tests.unit.cpg.checks import check
from tests.unit.cpg.world import run

if TYPE_CHECKING:
    from collections.abc import Iterator

PART_BYTES_MAX = 64
_FAILURES_SHOWN = 5
_VIOLATIONS_SHOWN = 5


@dataclass(slots=True)
class Report:
    """What one seed did, and what was wrong with it."""

    seed: int
    messages: int = 0
    long_messages: int = 0
    rings: int = 0
    wrong: list[str] = field(default_factory=list)


def run_seed(seed: int) -> Report:
    """Run a seed and judge what its clients saw."""
    wire.PART_BYTES_MAX = PART_BYTES_MAX
    report = Report(seed)
    try:
        is_storm = seed % 4 == 3
        world = run(seed, nodes=5 if is_storm else 3, turns=600 if is_storm else 1200, faults=0.1 if is_storm else 0.02)
        report.wrong = check(world)
    except Exception:  # any exception of a run is a finding
        report.wrong = traceback.format_exc().splitlines()
        return report
    report.rings = world.sequence // 4
    for client in [client for node in world.nodes.values() for client in node.clients]:
        sizes = [len(event[6]) for _, event in client.stream if event[1] == ev.MESSAGE]
        report.messages += len(sizes)
        report.long_messages += sum(size > PART_BYTES_MAX for size in sizes)
    return report


def _reports(seeds: range, jobs: int) -> Iterator[Report]:
    if jobs == 1 or len(seeds) == 1:
        yield from map(run_seed, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(min(jobs, len(seeds))) as pool:
        yield from pool.imap_unordered(run_seed, seeds, chunksize=8)


def run_seeds(seeds: range, jobs: int) -> int:
    """Run these seeds, say what they did, and return the exit code: 0 if every property holds, 1 if not."""
    progress = Progress(len(seeds), sys.stderr)
    began = time.monotonic()
    failed: list[Report] = []
    messages = long_messages = rings = 0
    for done, report in enumerate(_reports(seeds, jobs), 1):
        messages += report.messages
        long_messages += report.long_messages
        rings += report.rings
        if report.wrong:
            failed.append(report)
        progress.show(done, len(failed))
    print(
        f"{len(seeds)} seeds from {seeds[0]} on in {time.monotonic() - began:.0f} s: {messages} messages delivered, "
        f"{long_messages} of them long, {rings} rings"
    )
    failed.sort(key=lambda report: report.seed)
    for report in failed[:_FAILURES_SHOWN]:
        print(f"seed {report.seed} FAILED")
        for line in report.wrong[:_VIOLATIONS_SHOWN]:
            print(f"  {line}")
        print(f"  replay: make world SEED={report.seed}")
    if len(failed) > _FAILURES_SHOWN:
        print(f"more seeds failed: {[report.seed for report in failed[_FAILURES_SHOWN:]]}")
    if not failed:
        print("every property holds")
    return 1 if failed else 0
