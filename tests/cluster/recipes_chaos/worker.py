"""An application process that uses recipes, threads for each, and notes every call for the checker.

    python -m tests.cluster.recipes_chaos.worker ENDPOINT WHO EPOCH LOG STORE blocking|asyncio KIND,KIND

It says on its standard output, a line each: `ready` and `not ready` as all its recipes are; `stopped` when its threads
have ended, after the line `stop` came; `drained` after `drain`, when the queue is empty; after `final` what it sees.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import rondo
from tests.cluster.recipes_chaos.shells import ASYNCIO, AioShells, BlockingShells, Shells

CALL_S = 8.0
"""The time-out of a call."""
PAUSE_S = 0.3
"""The pause after a call that has failed."""
THINK_S = 0.06
HOLD_S = 0.01
WINDOW_S = 2.0
"""So long callers use one key of the dictionary. So the search for a register has few calls at once."""
LOOK_S = 0.05
PERMITS = 2
PARTIES = 3
ONCES = 2
GIVE_BACK = 0.1
"""So many items of the queue are not done, but given back."""
R = TypeVar("R")


class Log:
    """The log of the calls."""

    def __init__(self, path: str, who: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._who = who
        self._numbers = itertools.count(1)

    def call(self, recipe: str, what: tuple[Any, ...], do: Callable[[], R], result: Callable[[R], Any]) -> R:
        """Make a call and log it. Raises NoQuorum, Timeout."""
        number = f"{self._who}/{next(self._numbers)}"
        self._write(["begin", number, recipe, self._who, what, time.monotonic_ns()])
        try:
            value = do()
        except (rondo.NoQuorum, rondo.Timeout) as error:
            self._write(["fail", number, type(error).__name__, time.monotonic_ns()])
            raise
        self._write(["end", number, result(value), time.monotonic_ns()])
        return value

    def _write(self, line: list[Any]) -> None:
        os.write(self._file, json.dumps(line).encode() + b"\n")


def same(value: Any) -> Any:
    """A result as it is."""
    return value


class Worker:
    """The recipes of one process, and the threads that use them."""

    def __init__(self, shells: Shells, who: str, epoch: str, log: Log, directory: str, used: frozenset[str]) -> None:
        """`used`: the kinds of recipes that are used."""
        self._shells, self._who, self._log = shells, who, log
        self._epoch = epoch
        self._stop = threading.Event()
        self._values = itertools.count(1)
        kinds: dict[str, tuple[tuple[Any, ...], tuple[Callable[[random.Random], None], ...]]] = {
            "notes": (("Notes", directory), (self._note,)),
            "dict": (("Dict", epoch), (self._use_register, self._use_register)),
            "counter": (("Counter", epoch), (self._add, self._add, self._add)),
            "lock": (("Lock", epoch), (self._take_lock,)),
            "election": (("Election", epoch), (self._lead,)),
            "semaphore": (("Semaphore", epoch, PERMITS), (self._take_permit,)),
            "barrier": (("Barrier", epoch, PARTIES), (self._meet,)),
            "queue": (("Queue", epoch), (self._put, self._work)),
            "once": (("Once", f"{epoch}.0"), (self._begin_once,)),
        }
        self.recipes = {kind: self._open(*how) for kind, (how, _) in kinds.items() if kind in used}
        self.onces = [self._open("Once", f"{epoch}.{number}") for number in range(1, ONCES)] if "once" in used else []
        works = [work for kind in self.recipes for work in kinds[kind][1]]
        self._threads = [threading.Thread(target=self._drive, args=(work,)) for work in works]

    def _open(self, *how: Any) -> Any:
        while True:
            try:
                return self._shells.open(*how)
            except (rondo.NoQuorum, rondo.Timeout):
                time.sleep(PAUSE_S)

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def is_ready(self) -> bool:
        """True if all recipes are ready."""
        return all(recipe.is_ready for recipe in (*self.recipes.values(), *self.onces))

    def _drive(self, work: Callable[[random.Random], None]) -> None:
        draw = random.Random(f"{self._who} {work.__name__}")
        try:
            while not self._stop.is_set():
                try:
                    work(draw)
                except (rondo.NoQuorum, rondo.Timeout):
                    self._stop.wait(PAUSE_S)
                self._stop.wait(draw.random() * THINK_S)
        except BaseException as error:  # a finding of the run
            print(json.dumps({"bug": f"{self._who}: {work.__name__}: {error!r}"}), flush=True)
            raise

    def _value(self) -> str:
        return f"{self._who}/{next(self._values)}"

    # -- what the threads do -------------------------------------------------------------------------------------

    def _note(self, _draw: random.Random) -> None:
        note = self._value()
        self._log.call("notes", ("add", note), lambda: self.recipes["notes"].add(note), same)

    def _use_register(self, draw: random.Random) -> None:
        window = int(time.monotonic() / WINDOW_S)
        key, recipe = str(window), f"dict:{self._epoch}:{window}"
        value, expected = self._value(), self.recipes["dict"].get(key)
        calls: list[tuple[tuple[Any, ...], Callable[[], Any]]] = [
            (("get",), lambda: self.recipes["dict"].get(key, linearizable=True, timeout=CALL_S)),
            (("put", value), lambda: self.recipes["dict"].__setitem__(key, value)),
            (("put_if", expected, value), lambda: self.recipes["dict"].put_if(key, expected, value, CALL_S)),
        ]
        what, do = draw.choice(calls)
        try:
            self._log.call(recipe, what, do, same)
        except (rondo.NoQuorum, rondo.Timeout):
            # At most one call of each thread for each key has no answer.
            self._stop.wait((window + 1) * WINDOW_S - time.monotonic())

    def _add(self, draw: random.Random) -> None:
        recipe = f"counter:{self._epoch}"
        if draw.random() < 0.3:
            self._log.call(recipe, ("get",), lambda: self.recipes["counter"].get(CALL_S), same)
        else:
            self._log.call(recipe, ("add",), lambda: self.recipes["counter"].add(timeout=CALL_S), same)

    def _hold(self, recipe: str, acquire: Callable[[], Any], release: Callable[[], bool]) -> None:
        permit = self._log.call(recipe, ("acquire",), acquire, lambda permit: permit.fencing)
        self._stop.wait(HOLD_S)
        self._log.call(recipe, ("release", permit.fencing), release, same)

    def _take_lock(self, _draw: random.Random) -> None:
        lock = self.recipes["lock"]
        self._hold(f"lock:{self._epoch}", lambda: lock.acquire(CALL_S), lambda: lock.release(CALL_S))

    def _take_permit(self, _draw: random.Random) -> None:
        semaphore = self.recipes["semaphore"]
        self._hold(f"semaphore:{self._epoch}", lambda: semaphore.acquire(CALL_S), lambda: semaphore.release(CALL_S))

    def _lead(self, _draw: random.Random) -> None:
        election = self.recipes["election"]
        self._hold(f"election:{self._epoch}", lambda: election.lead(timeout=CALL_S), lambda: election.resign(CALL_S))

    def _meet(self, _draw: random.Random) -> None:
        self._log.call(f"barrier:{self._epoch}", ("wait",), lambda: self.recipes["barrier"].wait(CALL_S), same)

    def _put(self, _draw: random.Random) -> None:
        value = self._value()
        self._log.call(f"queue:{self._epoch}", ("put", value), lambda: self.recipes["queue"].put(value, CALL_S), same)

    def _work(self, draw: random.Random) -> None:
        self._take_job(draw.random() < GIVE_BACK, blocking=True)

    def _take_job(self, gives_back: bool, *, blocking: bool) -> bool:
        recipe, queue = f"queue:{self._epoch}", self.recipes["queue"]
        job = self._log.call(
            recipe, ("get",), lambda: queue.get(CALL_S, blocking=blocking), lambda job: job and [job.item, job.value]
        )
        if job is None:
            return False
        if gives_back:
            self._log.call(recipe, ("back", job.item), lambda: queue.back(job.item, CALL_S), same)
        else:
            self._log.call(recipe, ("done", job.item), lambda: done(queue, job.item), same)
        return True

    def _begin_once(self, draw: random.Random) -> None:
        number = draw.randrange(ONCES)
        recipe, value = f"once:{self._epoch}.{number}", self._value()

        once, do = [self.recipes["once"], *self.onces][number], self._shells.slow(value, HOLD_S)
        self._log.call(recipe, ("run",), lambda: once.run(do, CALL_S), same)

    # -- the end -------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take all remaining items from the queue."""
        while "queue" in self.recipes and self._take_job(False, blocking=False):
            pass

    def final(self) -> dict[str, Any]:
        """The state of all recipes as this worker sees it."""
        looks: dict[str, tuple[str, Callable[[Any], Any]]] = {
            "counter": (f"counter:{self._epoch}", lambda counter: counter.get()),
            "queue": (f"queue:{self._epoch}", len),
            "notes": ("notes", lambda notes: notes.read(lambda: list(notes.notes))),
        }
        return {name: look(self.recipes[kind]) for kind, (name, look) in looks.items() if kind in self.recipes}


def done(queue: Any, item: int) -> bool:
    """Whether it was this worker's still."""
    try:
        queue.done(item, CALL_S)
    except rondo.NotExist:
        return False
    return True


def say(worker: Worker) -> None:
    """Print `ready` or `not ready` whenever that changes."""
    said = None
    while True:
        if worker.is_ready is not said:
            said = worker.is_ready
            print("ready" if said else "not ready", flush=True)
        time.sleep(LOOK_S)


def main() -> None:
    """Work until standard input ends."""
    endpoint, who, epoch, log, directory, shell, used = sys.argv[1:]
    shells: Shells = AioShells(endpoint) if shell == ASYNCIO else BlockingShells(endpoint)
    worker = Worker(shells, who, epoch, Log(log, who), directory, frozenset(used.split(",")))
    threading.Thread(target=say, args=(worker,), daemon=True).start()
    worker.start()
    for line in sys.stdin:
        match line.strip():
            case "stop":
                worker.stop()
                print("stopped", flush=True)
            case "drain":
                worker.drain()
                print("drained", flush=True)
            case "final":
                print(json.dumps({"final": worker.final()}), flush=True)
    shells.close()


if __name__ == "__main__":
    main()
