"""Many applications under SAM, killed at random, with SAM itself killed among them; and what must hold all the while.

    python -m tests.sam.chaos --applications 200 --seconds 60 --kill-sam-every 10

Each instance holds a lock of the kernel for as long as it lives, and writes down if it cannot have it: at any moment
there is at most one. In the end there is exactly one of each, no zombie, and no descriptor more than before. While
nothing happens, SAM's share of a core is measured.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rondo import config
from tests.sam.bench import CONFIGURATION, Bench

INTERVAL_MS = 1000
LIFE_S = 5.0
"""The mean life of an instance before it is killed, in seconds."""
SETTLE_S = 120.0
JUDGE_S = 30.0
LOOKS = 10
SCRIPT = """
exec 8>"$DIR/$RONDO_SAM_ID.lock"; flock -n 8 || echo "$RONDO_SAM_ID $RONDO_SAM_INSTANCE" >> "$DIR/doubles"
echo $$ > "$DIR/$RONDO_SAM_ID.new"; mv "$DIR/$RONDO_SAM_ID.new" "$DIR/$RONDO_SAM_ID.pid"
while :; do ok; rest 0.25; done
"""


@dataclass(slots=True)
class Report:
    """The figures of a run."""

    applications: int
    seconds: float
    kills: int = 0
    kills_of_sam: int = 0
    restarts: int = 0
    doubles: int = 0
    called_hung: int = 0
    live_instances: dict[int, int] = field(default_factory=dict)
    """How many applications have so many live instances in the end: `{1: 200}` is right."""
    zombies: int = 0
    descriptors_leaked: dict[str, int] = field(default_factory=dict)
    idle_percent_of_core: dict[str, float] = field(default_factory=dict)
    pss_megabytes: dict[str, float] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """True if everything held that must hold on any machine."""
        return (
            self.doubles == 0
            and self.live_instances == {1: self.applications}
            and self.zombies == 0
            and not any(self.descriptors_leaked.values())
        )


class Chaos:
    """One run."""

    def __init__(self, bench: Bench, applications: int, seed: int) -> None:
        self._bench = bench
        self._random = random.Random(seed)
        self.report = Report(applications, 0.0)
        self._names = [bench.shell(SCRIPT, interval_ms=INTERVAL_MS) for _ in range(applications)]
        self._settle()
        looks = [self._count_descriptors() for _ in range(LOOKS)]
        # The fewest: the question for the keeper's pid may have had a descriptor of SAM's yet.
        self._descriptors = {name: min(each[name] for each in looks) for name in looks[0]}

    def _settle(self) -> None:
        """Wait until each runs and is healthy."""

        def all_are_well() -> bool:
            listed = {each["id"]: each for each in self._bench.sam.status()}
            return all(listed[name]["pid"] and listed[name]["health"] == "application" for name in self._names)

        deadline_s = time.monotonic() + SETTLE_S
        while not all_are_well():
            assert time.monotonic() < deadline_s, "not all applications are well again"
            time.sleep(0.2)

    def _processes(self) -> dict[str, int]:
        return {"sam": self._bench.pid("sam"), "keeper": self._bench.keeper_pid}

    def _count_descriptors(self) -> dict[str, int]:
        """Of each process; of none without root: SAM may not be looked into by its own user."""
        counts = {}
        for name, pid in self._processes().items():
            with contextlib.suppress(PermissionError):
                counts[name] = len(os.listdir(f"/proc/{pid}/fd"))
        return counts

    def measure_idle(self, seconds: float) -> None:
        """How much SAM and its keeper take while all are healthy."""
        before, began_s = self._cpu_seconds(), time.monotonic()
        time.sleep(seconds)
        after, took_s = self._cpu_seconds(), time.monotonic() - began_s
        self.report.idle_percent_of_core = {
            name: round(100 * (after[name] - before[name]) / took_s, 2) for name in before
        }
        for name, pid in self._processes().items():
            with contextlib.suppress(OSError):
                pss = next(
                    each for each in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if "Pss:" in each
                )
                self.report.pss_megabytes[name] = round(int(pss.split()[1]) / 1024, 1)

    def _cpu_seconds(self) -> dict[str, float]:
        tick = os.sysconf("SC_CLK_TCK")
        fields = {
            name: Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            for name, pid in self._processes().items()
        }
        return {name: (int(each[11]) + int(each[12])) / tick for name, each in fields.items()}

    def kill_at_random(self, seconds: float, kill_sam_every_s: float) -> None:
        """Every application is killed again and again, SAM too if that is wanted."""
        began_s = time.monotonic()
        sam_dies_at_s = began_s + (kill_sam_every_s / 2 if kill_sam_every_s else 1e9)
        while (now_s := time.monotonic()) < began_s + seconds:
            if now_s >= sam_dies_at_s:
                self._bench.restart("sam")
                self.report.kills_of_sam += 1
                sam_dies_at_s = now_s + kill_sam_every_s * self._random.uniform(0.5, 1.5)
            self._kill_one(self._random.choice(self._names))
            time.sleep(self._random.expovariate(len(self._names) / LIFE_S))
        self.report.seconds += seconds
        self._settle()

    def _kill_one(self, name: str) -> None:
        written = self._bench.written(f"{name}.pid")
        if written and f"RONDO_SAM_ID={name}".encode() in environment_of(int(written[0])):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(written[0]), signal.SIGKILL)
                self.report.kills += 1

    def judge(self) -> Report:
        """Look until all is as it must be, or for long enough: SAM may have to hear of the last kill yet, or, killed
        itself a moment ago, to take up its applications. What stays wrong is in the report."""
        deadline_s = time.monotonic() + JUDGE_S
        while not self._look().is_good and time.monotonic() < deadline_s:
            time.sleep(0.2)
        return self.report

    def _look(self) -> Report:
        report, bench = self.report, self._bench
        report.descriptors_leaked = self._leaked()
        report.doubles = len(bench.written("doubles"))
        report.called_hung = bench.log().count(" hung: silent")
        report.restarts = sum(each["restarts"] for each in bench.sam.status())
        live = Counter(leaders(bench.work))
        report.live_instances = dict(Counter(live[name] for name in self._names))
        report.zombies = sum(is_zombie(pid) for pid in children_of(bench.keeper_pid))
        return report

    def _leaked(self) -> dict[str, int]:
        now = self._count_descriptors()
        return {name: now[name] - count for name, count in self._descriptors.items()}


def environment_of(pid: int) -> list[bytes]:
    """The environment of a process; empty if the process has ended."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def leaders(work: Path) -> list[str]:
    """For each live process that leads a session under this SAM, of which application it is."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        environment = environment_of(int(entry))
        if b"DIR=" + os.fsencode(work) not in environment:
            continue
        mark = next((each for each in environment if each.startswith(b"RONDO_SAM_ID=")), b"")
        with contextlib.suppress(OSError):
            if mark and os.getsid(int(entry)) == int(entry):
                found.append(mark[13:].decode())
    return found


def children_of(pid: int) -> list[int]:
    """The children of a process."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_zombie(pid: int) -> bool:
    """True if it has ended and was not reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return False


def run(bench: Bench, options: argparse.Namespace) -> Report:
    """One run; the report."""
    chaos = Chaos(bench, options.applications, options.seed)
    if options.idle_seconds:
        chaos.measure_idle(options.idle_seconds)
    chaos.kill_at_random(options.seconds, options.kill_sam_every)
    return chaos.judge()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.sam.chaos", description=__doc__.splitlines()[0])
    made.add_argument("--applications", type=int, default=200, metavar="N")
    made.add_argument("--seconds", type=float, default=60.0, metavar="S", help="how long they are killed")
    made.add_argument("--idle-seconds", type=float, default=10.0, metavar="S", help="how long nothing happens before")
    made.add_argument("--kill-sam-every", type=float, default=0.0, metavar="S", help="0: never")
    made.add_argument("--seed", type=int, default=1)
    return made


def main() -> int:
    """Run it and print the report; 1 if something did not hold."""
    options = parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="rondo-sam-chaos-") as name:
        directory = Path(name)
        (directory / "corosync.conf").write_text(CONFIGURATION)
        config.resolve(config.load(directory / "corosync.conf")).save(directory / "node.msgpack")
        bench = Bench(directory / "node.msgpack")
        try:
            report = run(bench, options)
            bench.check()
        finally:
            bench.close()
    told: dict[str, Any] = asdict(report)
    print(json.dumps(told, indent=2))
    print("everything holds" if report.is_good else "NOT everything holds")
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
