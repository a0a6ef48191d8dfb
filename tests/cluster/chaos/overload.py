"""A client that joins and never reads, beside a sender at full speed.

    python -m tests.cluster.chaos.overload --seconds 300

One node. Memory of every process has to stay flat, and the sender at the rate that it had alone. The lazy client is cut
off when it holds back more than it may.
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rondo.testing.lab.netns import Lab
from rondo.testing.lab.node import Node
from rondo.testing.lab.requirements import namespaces_missing
from rondo.testing.lab.ring_config import RingConfig
from rondo.testing.lab.rondo_node import REPOSITORY

ALONE_S = 4.0
GROWTH_PERCENT_MAX = 5.0
GROWTH_KB_MAX = 4 * 1024
BURST_KB_MAX = 96 * 1024
"""Above what it has most of the time: what may wait for one client (cpg.client_bytes_max, 32 MiB) is there three times,
not acknowledged, in envelopes, and in libzmq."""
RATE_PERCENT_MIN = 80.0
MESSAGE_BYTES = 1024
PROGRESS_SAMPLES = 10
CUT_S_MAX = 90.0
"""A slow machine may need so long for what the lazy client is cut off for."""

Say = Callable[[str], None]

LAZY = """
import sys, time, rondo
cluster = rondo.connect(sys.argv[1], timeout=60)
group = cluster.cpg.join("overload")
print("joined", flush=True)
time.sleep(1e6)
"""
SENDER = """
import sys, time, rondo
cluster = rondo.connect(sys.argv[1], timeout=60)
group = cluster.cpg.join("overload")
data = bytes(int(sys.argv[2]))
count, members, due = 0, 1, time.monotonic() + 1
while True:
    try:
        for _ in range(200):
            group.mcast(data, timeout=0)
    except rondo.TryAgain:
        pass
    for _ in range(400):
        event = group.poll(timeout=0)
        if event is None:
            break
        if isinstance(event, rondo.Message):
            count += 1
        elif isinstance(event, rondo.Membership):
            members = len(event.members)
    now = time.monotonic()
    if now >= due:
        print(count, members, flush=True)
        count, due = 0, now + 1
"""


@dataclass
class Outcome:
    """The figures of a run."""

    alone: list[int] = field(default_factory=list)
    """Messages in each second, without the client that never reads."""
    beside: list[int] = field(default_factory=list)
    cut_after_s: float | None = None
    memory_kb: list[dict[str, int]] = field(default_factory=list)
    """Memory of each process, once a second since the client that never reads joined, in KiB."""

    def growth(self) -> dict[str, tuple[int, int, int]]:
        """(median of the second quarter of the time, median of the last one, highest ever), KiB, of each process.

        A burst may use what the bounds of the queues allow, and is given back; what is never given back shows.
        """
        samples = self.memory_kb
        early, late = samples[len(samples) // 4 : len(samples) // 2], samples[len(samples) * 3 // 4 :]
        return {
            name: (
                round(statistics.median(each.get(name, 0) for each in early)),
                round(statistics.median(each.get(name, 0) for each in late)),
                max(each.get(name, 0) for each in samples),
            )
            for name in samples[-1]
        }

    def faults(self) -> list[str]:
        """The violations, as lines."""
        found = []
        for name, (early_kb, late_kb, highest_kb) in self.growth().items():
            if late_kb - early_kb > max(GROWTH_KB_MAX, early_kb * GROWTH_PERCENT_MAX / 100):
                found.append(f"{name} grew from {early_kb} to {late_kb} KiB")
            if highest_kb - early_kb > BURST_KB_MAX:
                found.append(f"{name} had {highest_kb} KiB at a time, {early_kb} KiB most of the time")
        alone, beside = statistics.median(self.alone), statistics.median(self.beside)
        if beside < alone * RATE_PERCENT_MIN / 100:
            found.append(f"the sender fell from {alone:.0f} to {beside:.0f} messages a second")
        if self.cut_after_s is None:
            found.append("the lazy client was never cut off")
        return found

    def text(self) -> str:
        """A short report."""
        lines = [
            f"sender alone {statistics.median(self.alone):,.0f}/s of {MESSAGE_BYTES} B, beside the lazy client "
            f"{statistics.median(self.beside):,.0f}/s (slowest second {min(self.beside):,}); "
            f"lazy client cut off after {self.cut_after_s} s",
            f"MB of memory, every {self.step_s} s:",
            *(f"    {name:<12} {self._curve(name)}" for name in sorted(self.memory_kb[-1])),
            "median of the second quarter of the time -> of the last, KiB:",
            *(
                f"    {name:<12} {early:>8} -> {late:>8}, highest {highest:>8}"
                for name, (early, late, highest) in sorted(self.growth().items())
            ),
        ]
        faults = self.faults()
        return "\n".join(
            [*lines, *faults, "OVERLOAD CHANGED SOMETHING" if faults else "memory is flat, the sender is at its rate"]
        )

    @property
    def step_s(self) -> int:
        """The distance between two points of a printed curve, in samples of a second."""
        return max(1, min(10, len(self.memory_kb) // 4))

    def _curve(self, name: str) -> str:
        return " ".join(f"{each.get(name, 0) / 1024:.1f}" for each in self.memory_kb[:: self.step_s])


class Overload:
    """One node, a sender, and a client that never reads."""

    def __init__(self, lab: Lab, directory: Path, say: Say) -> None:
        self._say = say
        token = f"o{secrets.token_hex(4)}"
        path = directory / "corosync.conf"
        path.write_text(RingConfig.of_lab(lab, "udpu", totem={"cluster_name": token}).text())
        self.node = Node(lab.host(1), path, token)
        self.outcome = Outcome()
        self._rates: list[tuple[int, int]] = []

    def _start(self, script: str, *arguments: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-c", script, self.node.socket, *arguments]
        environment = {"PYTHONPATH": str(REPOSITORY)}
        return self.node.host.popen(argv, environment=environment, stdout=subprocess.PIPE)

    def _read_rates(self, sender: subprocess.Popen[bytes]) -> None:
        assert sender.stdout is not None
        for line in sender.stdout:
            count, members = line.split()
            self._rates.append((int(count), int(members)))

    def run(self, seconds: float) -> Outcome:
        """Run all of it. Returns the figures."""
        self.node.launch()
        self.node.wait_until_started()
        sender = self._start(SENDER, str(MESSAGE_BYTES))
        reader = threading.Thread(target=self._read_rates, args=(sender,), daemon=True)
        reader.start()
        time.sleep(ALONE_S + 1)
        self.outcome.alone = [count for count, _ in self._rates[1:]]
        lazy = self._start(LAZY)
        assert lazy.stdout is not None
        assert lazy.stdout.readline() == b"joined\n"
        first, began_s = len(self._rates), time.monotonic()
        elapsed_s = 0.0
        while elapsed_s < seconds or (self.outcome.cut_after_s is None and elapsed_s < CUT_S_MAX):
            time.sleep(1)
            self.outcome.memory_kb.append(
                {**self.node.memory_kb(), "sender": _rss_kb(sender.pid), "lazy": _rss_kb(lazy.pid)}
            )
            elapsed_s = time.monotonic() - began_s
            if self.outcome.cut_after_s is None and len(self._rates) > first + 1 and self._rates[-1][1] == 1:
                self.outcome.cut_after_s = round(elapsed_s, 1)
            if len(self.outcome.memory_kb) % PROGRESS_SAMPLES == 0:
                sizes = ", ".join(f"{name} {kb / 1024:.1f}" for name, kb in sorted(self.outcome.memory_kb[-1].items()))
                self._say(f"{elapsed_s:6.1f} s  {self._rates[-1][0]:,}/s; MB: {sizes}")
        self.outcome.beside = [count for count, _ in self._rates[first + 1 :]]
        for each in (lazy, sender):
            each.kill()
            each.wait()
        reader.join(10)
        self.node.kill()
        return self.outcome


def _rss_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


def overload(seconds: float, say: Say = lambda _line: None) -> Outcome:
    """Run it in a lab of its own. Returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="rondo-overload-", dir="/tmp") as name, Lab(Path(name), 1) as lab:
        return Overload(lab, Path(name), say).run(seconds)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster.chaos.overload", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--seconds", type=float, default=300.0, help="beside the lazy client (default 300)")
    options = parser.parse_args()
    if missing := namespaces_missing():
        print(f"error: {missing}", file=sys.stderr)
        return 1
    outcome = overload(options.seconds, lambda line: print(line, flush=True))
    print(outcome.text())
    return 1 if outcome.faults() else 0


if __name__ == "__main__":
    sys.exit(main())
