"""Recipes on real nodes that are killed, stopped, cut off and lose packets at random, while callers go on.

RONDO_RECIPES_SECONDS: how long (20). RONDO_RECIPES_SEED: which faults.
"""

from __future__ import annotations

import os
import random
import threading
import time
from bisect import bisect_left
from contextlib import ExitStack
from typing import NamedTuple

import pytest

import rondo
from rondo.recipes import Counter, Lock
from rondo.testing import TestCluster, rondo_cluster

SECONDS = float(os.environ.get("RONDO_RECIPES_SECONDS", "20"))
SEED = int(os.environ.get("RONDO_RECIPES_SEED", "1"))
NODES = (1, 2, 3)
MENDED_S_MAX = 60.0
CALL_S_MAX = 20.0


class Call(NamedTuple):
    """What a caller was answered, and from when to when it waited."""

    ended_s: float
    began_s: float
    value: int
    is_read: bool


class Callers:
    """Threads on each node that count and read, and some that take a lock in turn."""

    def __init__(self, counters: list[Counter], locks: list[Lock]) -> None:
        self.calls: list[Call] = []
        self.fencing: list[tuple[float, float, int]] = []
        """From when to when somebody waited for the lock, and the token."""
        self.refused = 0
        self.bugs: list[BaseException] = []
        self._stop = threading.Event()
        works = [(self._count, counter) for counter in counters for _ in range(2)]
        self._threads = [threading.Thread(target=self._run, args=work) for work in works]
        self._threads += [threading.Thread(target=self._run, args=(self._take, lock)) for lock in locks]
        for thread in self._threads:
            thread.start()

    def _run(self, work, recipe) -> None:  # type: ignore[no-untyped-def]
        turn = 0
        while not self._stop.is_set():
            turn += 1
            try:
                work(recipe, turn)
            except (rondo.NoQuorum, rondo.Timeout):
                self.refused += 1
                self._stop.wait(0.05)
            except BaseException as error:
                self.bugs.append(error)
                return

    def _count(self, counter: Counter, turn: int) -> None:
        began_s, is_read = time.monotonic(), turn % 4 == 0
        value = counter.get() if is_read else counter.add()
        self.calls.append(Call(time.monotonic(), began_s, value, is_read))

    def _take(self, lock: Lock, _turn: int) -> None:
        began_s = time.monotonic()
        permit = lock.acquire()
        assert permit is not None
        self.fencing.append((began_s, time.monotonic(), permit.fencing))
        lock.release()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * CALL_S_MAX)
            assert not thread.is_alive()
        assert not self.bugs, self.bugs


def disturb(c: TestCluster, draw: random.Random) -> str:
    """Something happens."""
    fault, node = draw.choice(["split", "heal", "kill", "pause", "loss"]), draw.choice(NODES)
    if fault == "split":
        c.partition({node}, set(NODES) - {node})
    elif fault == "heal":
        c.heal()
    elif fault == "kill":
        c.kill(node)
        time.sleep(2 * draw.random())
        c.restart(node)
    elif fault == "pause":
        c.pause(node)
        time.sleep(3 * draw.random())
        c.resume(node)
    else:
        c.loss(5)
    return fault


def check(callers: Callers, final: int) -> None:
    """Steps are single, none is lost, nobody sees less than was seen before, and tokens do not go back."""
    steps = [call.value for call in callers.calls if not call.is_read]
    assert len(set(steps)) == len(steps), "no step twice"
    assert max(steps) <= final, "no step lost"
    calls = sorted(callers.calls)
    highest = [0]
    for call in calls:
        highest.append(max(highest[-1], call.value))
    ends = [call.ended_s for call in calls]
    for call in calls:
        before = highest[bisect_left(ends, call.began_s)]
        assert call.value >= before + (not call.is_read), "a counter that only grows is linearizable"
    for began_s, _, fencing in callers.fencing:
        assert all(earlier < fencing for _, ended_s, earlier in callers.fencing if ended_s < began_s)


@pytest.mark.namespaces
@pytest.mark.slow
@pytest.mark.timeout(600 + SECONDS)
def test_nothing_is_lost_doubled_or_out_of_order() -> None:
    draw = random.Random(SEED)
    with rondo_cluster(nodes=3) as c, ExitStack() as stack:
        clusters = [stack.enter_context(c[node].connect()) for node in NODES]
        counters = [stack.enter_context(Counter(cluster, "steps", timeout=CALL_S_MAX)) for cluster in clusters]
        locks = [Lock(cluster, "lock", timeout=CALL_S_MAX) for cluster in clusters]
        for lock in locks:
            stack.callback(lock.close)
        callers = Callers(counters, locks)
        try:
            end_s = time.monotonic() + SECONDS
            faults = []
            while time.monotonic() < end_s:
                faults.append(disturb(c, draw))
                time.sleep(4 * draw.random())
            c.heal()
            end_s = time.monotonic() + MENDED_S_MAX
            while not all(recipe.is_ready for recipe in [*counters, *locks]):
                assert time.monotonic() < end_s, [recipe.state for recipe in [*counters, *locks]]
                time.sleep(0.05)
        finally:
            callers.stop()
        finals = {counter.get() for counter in counters}
        print(f"{faults}: {len(callers.calls)} calls, {len(callers.fencing)} locks, {callers.refused} refused")
        assert len(finals) == 1
        check(callers, finals.pop())
