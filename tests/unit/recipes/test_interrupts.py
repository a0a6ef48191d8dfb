"""An exception out of a signal handler may end any call of a recipe: the recipe goes on, and nobody has what nobody
holds. Children of a process leave the parent's recipes alone."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import rondo
from rondo.recipes import Counter, Dict, Lock, Queue, Semaphore
from rondo.testing import Loopback
from tests.unit.recipes.conftest import WAIT_S, cluster_on, eventually

INTERRUPTS = 300


class InterruptError(BaseException):
    """What the handler raises."""


def _raise(_number: int, _frame: object) -> None:
    raise InterruptError


@pytest.fixture(autouse=True)
def unraisable(monkeypatch: pytest.MonkeyPatch) -> None:
    """An alarm that comes up in the callback of a weak reference can only be printed by Python."""
    former = sys.unraisablehook

    def hook(told: sys.UnraisableHookArgs) -> None:
        if not isinstance(told.exc_value, InterruptError):
            former(told)

    monkeypatch.setattr(sys, "unraisablehook", hook)


@pytest.fixture(autouse=True)
def alarms(loopback: Loopback) -> Iterator[None]:
    """An alarm raises, until the test is over; the ring ends later."""
    former = signal.signal(signal.SIGALRM, _raise)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, former)


def interrupted(call: Any, after_s: float) -> bool:
    """Whether the exception came before the call was over."""
    try:
        signal.setitimer(signal.ITIMER_REAL, after_s)
        call()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except InterruptError:
        return True
    return False


def test_who_is_interrupted_while_he_waits_for_a_lock_does_not_get_it(loopback: Loopback) -> None:
    holder, other, third = (Lock(cluster_on(loopback, node), "l") for node in (1, 2, 3))
    holder.acquire()
    assert interrupted(other.acquire, 0.05)
    holder.release()
    permit = third.acquire(timeout=WAIT_S)
    assert permit is not None
    assert permit.is_held


def test_who_is_interrupted_while_he_waits_for_an_item_does_not_get_it(loopback: Loopback) -> None:
    queues = [Queue(cluster_on(loopback, node), "q") for node in (1, 2)]
    assert interrupted(queues[0].get, 0.05)
    queues[0].put("item")
    job = queues[1].get(timeout=WAIT_S)
    assert job is not None
    assert job.value == "item"


def test_interrupts_at_any_place_leave_a_recipe_usable(loopback: Loopback) -> None:
    counter, table = Counter(cluster_on(loopback, 1), "c"), Dict(cluster_on(loopback, 1), "d")
    lock = Semaphore(cluster_on(loopback, 1), "s", 1)
    other = Counter(cluster_on(loopback, 2), "c")

    def work() -> None:
        counter.add(1)
        counter.get()
        table["key"] = counter.value
        assert lock.acquire() is not None
        lock.release()

    seen = 0
    for at in range(INTERRUPTS):
        if interrupted(work, 0.0002 + at % 30 * 0.0002):
            seen += 1
        with contextlib.suppress(rondo.BadOperation):
            while True:
                lock.release(timeout=WAIT_S)
    assert seen > INTERRUPTS // 10
    before = counter.get(timeout=WAIT_S)
    assert counter.add(1, timeout=WAIT_S) == before + 1 == other.get(timeout=WAIT_S)
    permit = lock.acquire(timeout=WAIT_S)
    assert permit is not None
    assert permit.is_held


def test_what_cannot_be_given_back_now_is_given_back_later(loopback: Loopback) -> None:
    """All were without quorum for a while, and the state goes on where the holder is."""
    holder, other = (Semaphore(cluster_on(loopback, node), "s", 1) for node in (1, 2))
    holder.acquire()
    loopback.partition({1}, {2}, {3})
    with pytest.raises((rondo.NoQuorum, rondo.Timeout)):
        holder.release(timeout=0.3)
    loopback.heal()
    eventually(lambda: other.is_ready)
    assert other.acquire(timeout=WAIT_S) is not None


def test_a_child_leaves_the_parents_recipes_alone(loopback: Loopback) -> None:
    lock, table = Lock(cluster_on(loopback, 1), "l"), Dict(cluster_on(loopback, 1), "d")
    table["key"] = list(range(20_000))
    busy, over = threading.Event(), threading.Event()

    def keep_busy() -> None:
        """Somebody looks at the state, and so keeps others from it, nearly all the time."""
        while not over.is_set():
            table.items()
            busy.set()

    thread = threading.Thread(target=keep_busy)
    thread.start()
    busy.wait()
    child = os.fork()
    if not child:
        try:
            signal.alarm(20)
            for call in (lambda: table.put_if("key", None, 1), lambda: table["key"], lambda: table.items()):
                with pytest.raises(rondo.BadHandle):
                    call()
            table.close()
            lock.close()
            os._exit(7)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    over.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 7
    assert table.put_if("other", None, 1, timeout=WAIT_S)


def test_a_child_that_leaves_the_with_ends_with_its_own_code(loopback: Loopback) -> None:
    parent, child = os.getpid(), 0
    try:
        with Lock(cluster_on(loopback, 1), "l"):
            child = os.fork()
            if not child:
                signal.alarm(20)
                raise SystemExit(7)
    except BaseException as error:
        if os.getpid() != parent:
            os._exit(error.code if isinstance(error, SystemExit) else 1)  # type: ignore[arg-type]
        raise
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
