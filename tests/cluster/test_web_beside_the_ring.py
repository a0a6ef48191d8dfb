"""A thousand slow and broken HTTP clients at the page of a node: the ring is as fast as without them."""

from __future__ import annotations

import math
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import rondo
from rondo.demo.cluster import DemoCluster
from rondo.testing.lab.waiting import wait_for
from tests.cluster.demo_nodes import start_in_one_ring
from tests.cluster.http_crowd import CLIENTS, PAUSE_S
from tests.unit.web.server import Server, serving

PAIRS_MIN = 20
PAIRS_MAX = 80
WINDOW_S = 0.5
SETTLED_S = 0.1
"""After a change, before it is measured."""
WITHIN = 0.03
SURE = 0.99
PAYLOAD = bytes(256)
AHEAD = 256
"""Messages that are under way at a time."""
JOINED_S = 60.0
READY_S = 90.0
CPUS = len(os.sched_getaffinity(0))
WORDS_A_PAIR = (WINDOW_S + SETTLED_S) * CLIENTS / PAUSE_S / 8
"""An eighth of what they say where there is time for all of it. At a load of 20 they said a quarter."""


class Pump:
    """Sends to a group and takes what it has sent, as fast as the ring goes."""

    def __init__(self, cluster: rondo.Cluster) -> None:
        self._group = cluster.cpg.join("measured")
        self._under_way = 0

    def run(self, seconds: float) -> float:
        """Messages a second that came back ordered."""
        began_s, came = time.perf_counter(), 0
        while (now_s := time.perf_counter()) - began_s < seconds:
            while self._under_way < AHEAD:
                self._group.mcast(PAYLOAD)
                self._under_way += 1
            event = self._group.poll(1.0)
            if isinstance(event, rondo.Message):
                self._under_way -= 1
                came += 1
        return came / (now_s - began_s)


class Crowd:
    """The clients, which can be stopped."""

    def __init__(self, process: subprocess.Popen[bytes], told: Path) -> None:
        self._process, self._told = process, told

    def cpu_s(self) -> float:
        """What the clients themselves have used."""
        return cpu_s(self._process.pid)

    def send(self, number: signal.Signals) -> None:
        """SIGSTOP or SIGCONT."""
        self._process.send_signal(number)

    def words(self) -> int:
        """What they have said since all of them had been there, in hundreds."""
        return 100 * (len(self._told.read_text().splitlines()) - 1)


@pytest.fixture(name="server")
def _server() -> Iterator[tuple[DemoCluster, Server]]:
    with DemoCluster(3) as cluster:
        start_in_one_ring(cluster)
        with serving(cluster.nodes[1].run_dir) as server:
            yield cluster, server


@pytest.fixture(name="crowd")
def _crowd(server: tuple[DemoCluster, Server], tmp_path: Path) -> Iterator[Crowd]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    command = [sys.executable, "-m", "tests.cluster.http_crowd", str(server[1].port)]
    told = tmp_path / "told"
    with told.open("wb") as out, subprocess.Popen(command, stdout=out) as process:
        crowd = Crowd(process, told)
        wait_for(told.read_text, bool, "all clients have been there", READY_S)
        yield crowd
        process.kill()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
def test_the_ring_is_as_fast_beside_a_thousand_slow_and_broken_clients(
    server: tuple[DemoCluster, Server], crowd: Crowd
) -> None:
    """In pairs of half a second each, one with the clients and one in which they are stopped, in an order by chance.

    The clients are on this machine too. What they use themselves is not the page's doing, so the rate beside them is
    compared with that of the share of the processors that they leave.

    Pairs scatter by a tenth and more where other tests run, so the median of a few says nothing about 3 %. They go on
    until it is known on which side of it the median lies, or to the most pairs. It fails if all of what the median can
    be is worse.
    """
    cluster, page = server
    drawn = random.Random(19)
    ratios: list[float] = []
    rates: list[float] = []
    shares: list[float] = []
    used_s = cpu_s(page.process.pid)
    with rondo.connect(cluster.nodes[2].endpoint, timeout=JOINED_S) as client:
        pump = Pump(client)
        pump.run(2 * WINDOW_S)
        while len(ratios) < PAIRS_MAX and not (len(ratios) >= PAIRS_MIN and known(of_the_rest(ratios, shares))):
            found = {}
            for with_crowd in drawn.sample([True, False], 2):
                crowd.send(signal.SIGCONT if with_crowd else signal.SIGSTOP)
                pump.run(SETTLED_S)
                before_s = crowd.cpu_s()
                found[with_crowd] = pump.run(WINDOW_S)
                if with_crowd:
                    shares.append((crowd.cpu_s() - before_s) / WINDOW_S / CPUS)
            ratios.append(found[True] / found[False])
            rates.append(found[False])
        words = crowd.words()
        crowd.send(signal.SIGCONT)
    assert page.get("/healthz")[0] == 200, "whoever means well is served"
    beside = of_the_rest(ratios, shares)
    ratio, (low, high) = statistics.median(beside), of_median(beside)
    used_s = cpu_s(page.process.pid) - used_s
    print(
        f"{statistics.median(rates):.0f} messages a second without them; they use "
        f"{100 * statistics.mean(shares):.1f} % of the processors, and of the rest it is {100 * (ratio - 1):+.1f} % "
        f"(99 % sure: {100 * (low - 1):+.1f} to {100 * (high - 1):+.1f} %), {len(ratios)} pairs; "
        f"they said {words} words; "
        f"the page used {used_s:.1f} s; load {os.getloadavg()[0]:.1f} on {CPUS} CPUs"
    )
    assert words >= WORDS_A_PAIR * len(ratios), "the clients had no processor"
    assert high >= 1 - WITHIN


def of_the_rest(ratios: list[float], shares: list[float]) -> list[float]:
    """Rates beside the clients to rates without them, where the clients use these shares of the processors."""
    left = 1 - statistics.mean(shares)
    return [each / left for each in ratios]


def of_median(ratios: list[float]) -> tuple[float, float]:
    """Between which two of the ratios the median of all such pairs lies, 99 % sure: the interval of the sign test."""
    count = len(ratios)
    below, rank = 0.0, 0
    while below + math.comb(count, rank) / 2**count <= (1 - SURE) / 2:
        below += math.comb(count, rank) / 2**count
        rank += 1
    found = sorted(ratios)
    return found[max(rank - 1, 0)], found[min(count - rank, count - 1)]


def known(ratios: list[float]) -> bool:
    """Whether the median lies on one side of what is allowed."""
    low, high = of_median(ratios)
    return not low < 1 - WITHIN <= high


def test_the_interval_of_a_median_of_twenty() -> None:
    """The table of the sign test: of 20 the 4th and the 17th (0.9974 sure); of few pairs all of them."""
    assert of_median([float(number) for number in range(20, 0, -1)]) == (4.0, 17.0)
    assert of_median([3.0, 1.0, 2.0]) == (1.0, 3.0)


def cpu_s(pid: int) -> float:
    """What a process has used."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
