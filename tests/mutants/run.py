"""Runs mutants: each is applied in a copy of the tree, and its tests run there until one fails.

The tests meant for a mutant come first, then all of its area, then random seeds: a survivor was seen by all of them.
Every run has a time limit, and to exceed it counts as noticed: the rule that was broken kept something from ending.
A worker first runs the tests of its area on the unbroken copy, so that a tree whose tests fail anyway gets no score.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.mutants.mutant import Area, Mutant

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("services", "rondo", "tests", "bench", "examples", "docs", "config", "pyproject.toml", "README.md")
STEP_SECONDS_MAX = 240
"""Time of one step: of the tests meant for the mutant, of its area's tests, of its seeds."""
_OUTPUT_LINES_SHOWN = 15
_TESTS_FAILED = 1
"""Exit code of pytest, and of the random runs, when a test has failed."""


class Verdict(Enum):
    """What became of a mutant."""

    NOTICED = "noticed"
    TIMED_OUT = "noticed (did not end)"
    SURVIVED = "SURVIVED"
    FAULTY = "FAULTY"
    """The tests could not be run."""


@dataclass(frozen=True)
class Result:
    """One mutant's end."""

    mutant: Mutant
    verdict: Verdict
    step: str
    """The step that noticed it."""
    seconds: float
    detail: str = ""

    @property
    def is_well(self) -> bool:
        """Whether it was noticed, or need not be."""
        return self.verdict in (Verdict.NOTICED, Verdict.TIMED_OUT) or (
            self.verdict is Verdict.SURVIVED and bool(self.mutant.harmless)
        )


def _pytest(*tests: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]


def _steps(area: Area, first: Sequence[str] = ()) -> list[tuple[str, list[str]]]:
    steps = [("its tests", _pytest(*first))] if first else []
    steps.append(("tests", _pytest(*area.tests)))
    if area.seeds is not None:
        steps.append(("seeds", [sys.executable, *area.seeds]))
    return steps


class Copy:
    """A copy of the tree to break things in."""

    def __init__(self, directory: Path) -> None:
        self.root = directory
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                ignore = shutil.ignore_patterns("__pycache__", "*.so")
                shutil.copytree(source, directory / name, ignore=ignore)
            elif source.exists():
                shutil.copy2(source, directory / name)
        self._environment = os.environ | {"PYTHONPATH": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, command: list[str]) -> tuple[int | None, str]:
        """The exit code (None: it took too long) and the output of a command in this tree."""
        with subprocess.Popen(
            command, cwd=self.root, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        ) as process:  # fmt: skip
            try:
                output, _ = process.communicate(timeout=STEP_SECONDS_MAX)
            except BaseException as error:
                # It leads a group of its own, so that what its tests have started ends with it.
                os.killpg(process.pid, signal.SIGKILL)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                return None, ""
        return process.returncode, output

    def judge(self, mutant: Mutant) -> Result:
        """Break one place, run its tests, and mend it."""
        began = time.monotonic()
        before = mutant.apply(self.root)
        try:
            for name, command in _steps(mutant.area, mutant.tests):
                code, output = self.run(command)
                if code == 0:
                    continue
                verdict = {None: Verdict.TIMED_OUT, _TESTS_FAILED: Verdict.NOTICED}.get(code, Verdict.FAULTY)
                return Result(mutant, verdict, name, time.monotonic() - began, _tail(output))
        finally:
            (self.root / mutant.file).write_text(before)
        return Result(mutant, Verdict.SURVIVED, "", time.monotonic() - began)

    def fault(self, area: Area) -> str | None:
        """What the tests of an area say of the unbroken tree; None if they pass."""
        for name, command in _steps(area):
            code, output = self.run(command)
            if code != 0:
                return f"the {name} of {area.name} fail on the unbroken tree:\n{_tail(output)}"
        return None


def _tail(output: str) -> str:
    return "\n".join(output.splitlines()[-_OUTPUT_LINES_SHOWN:])


class Crew:
    """Workers, each with a copy of the tree, and what they found."""

    def __init__(self, mutants: Sequence[Mutant], jobs: int) -> None:
        self.results: list[Result] = []
        self.errors: list[str] = []
        self._total = len(mutants)
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._todo: SimpleQueue[Area | Mutant] = SimpleQueue()
        for area in dict.fromkeys(mutant.area for mutant in mutants):
            self._todo.put(area)
        for mutant in mutants:
            self._todo.put(mutant)
        self._jobs = min(jobs, len(mutants))

    def run(self) -> None:
        """Work until all is judged."""
        with tempfile.TemporaryDirectory(prefix="rondo-mutants-") as scratch:
            workers = [
                threading.Thread(target=self._work, args=(Path(scratch) / str(n),), daemon=True)
                for n in range(self._jobs)
            ]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()

    def _work(self, directory: Path) -> None:
        copy = Copy(directory)
        while not self.errors:
            try:
                item = self._todo.get_nowait()
            except Empty:
                return
            if isinstance(item, Enum):
                if fault := copy.fault(item):
                    self.errors.append(fault)
            else:
                self._note(copy.judge(item))

    def _note(self, result: Result) -> None:
        with self._lock:
            self.results.append(result)
            mutant = result.mutant
            by = f" by {result.step}" if result.step else ""
            harmless = " (harmless)" if result.verdict is Verdict.SURVIVED and mutant.harmless else ""
            spent_s = time.monotonic() - self._began
            print(
                f"{len(self.results)}/{self._total}  {spent_s:5.0f} s  {result.verdict.value}{by}{harmless}"
                f" in {result.seconds:.0f} s: {mutant.file}: {mutant.rule}",
                flush=True,
            )


def run_mutants(mutants: Sequence[Mutant], jobs: int) -> int:
    """Run them, print the score and the survivors; the exit code: 0 if all that matter are noticed, 1 if not."""
    crew = Crew(mutants, jobs)
    crew.run()
    if crew.errors:
        print("\n".join(crew.errors))
        return 1
    print()
    matter = [result for result in crew.results if not result.mutant.harmless]
    for area in dict.fromkeys(result.mutant.area for result in matter):
        of_area = [result for result in matter if result.mutant.area is area]
        print(f"{area.name.lower():10}{sum(result.is_well for result in of_area):4} of {len(of_area)} noticed")
    noticed = sum(result.is_well for result in matter)
    print(f"score: {noticed} of {len(matter)} that matter ({100 * noticed // max(1, len(matter))} %)")
    for result in crew.results:
        mutant = result.mutant
        if not result.is_well:
            print(f"\n{result.verdict.value}: {mutant.file}: {mutant.rule}\n  {mutant.old!r}\n  {mutant.new!r}")
            print(result.detail)
        elif mutant.harmless and result.verdict is not Verdict.SURVIVED:
            print(f"\nnoticed, although it is called harmless: {mutant.file}: {mutant.rule}")
    return 0 if noticed == len(matter) else 1
