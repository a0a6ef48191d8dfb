"""An application process that uses all recipes, a thread for each, and notes every call for the checker.

    python -m tests.cluster.recipes_chaos.worker ENDPOINT WHO EPOCH LOG STORE

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
from rondo.recipes import (
    Barrier,
    Counter,
    Dict,
    Election,
    Lock,
    Once,
    Queue,
    Replicated,
    Semaphore,
    Store,
    replicated,
)

CALL_S = 8.0
"""After so long a call gives up."""
OPEN_S = 20.0
PAUSE_S = 0.3
"""After a call that has failed."""
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


class Notes(Replicated):
    """A list of all notes, on disk."""

    def __init__(self, cluster: rondo.Cluster, directory: str) -> None:
        self.notes: list[str] = []
        store = Store(directory, fsync=False, compact_bytes=100_000)
        super().__init__(cluster, "notes", timeout=OPEN_S, store=store)

    @replicated
    def add(self, note: str) -> int:
        """One more."""
        self.notes.append(note)
        return len(self.notes)


class Log:
    """Where the calls are noted."""

    def __init__(self, path: str, who: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._who = who
        self._numbers = itertools.count(1)

    def call(self, recipe: str, what: tuple[Any, ...], do: Callable[[], R], result: Callable[[R], Any]) -> R:
        """Make a call, and note it. Raises NoQuorum, Timeout."""
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
    """All recipes of one process."""

    def __init__(self, cluster: rondo.Cluster, who: str, epoch: str, log: Log, directory: str) -> None:
        self._who, self._log = who, log
        self._epoch = epoch
        self._stop = threading.Event()
        self._values = itertools.count(1)
        self.notes = self._open(lambda: Notes(cluster, directory))
        self.dict = self._open(lambda: Dict(cluster, epoch, timeout=OPEN_S))
        self.counter = self._open(lambda: Counter(cluster, epoch, timeout=OPEN_S))
        self.lock = self._open(lambda: Lock(cluster, epoch, timeout=OPEN_S))
        self.election = self._open(lambda: Election(cluster, epoch, timeout=OPEN_S))
        self.semaphore = self._open(lambda: Semaphore(cluster, epoch, PERMITS, timeout=OPEN_S))
        self.barrier = self._open(lambda: Barrier(cluster, epoch, PARTIES, timeout=OPEN_S))
        self.queue = self._open(lambda: Queue(cluster, epoch, timeout=OPEN_S))
        self.onces = [self._open(lambda n=n: Once(cluster, f"{epoch}.{n}", timeout=OPEN_S)) for n in range(ONCES)]  # type: ignore[misc]
        self.all = [
            self.notes, self.dict, self.counter, self.lock, self.election, self.semaphore, self.barrier, self.queue,
            *self.onces,
        ]  # fmt: skip
        works = [
            self._note, self._use_register, self._use_register, self._add, self._add, self._add, self._take_lock,
            self._lead, self._take_permit, self._meet, self._put, self._work, self._begin_once,
        ]  # fmt: skip
        self._threads = [threading.Thread(target=self._drive, args=(work,)) for work in works]

    @staticmethod
    def _open(make: Callable[[], R]) -> R:
        while True:
            try:
                return make()
            except (rondo.NoQuorum, rondo.Timeout):
                time.sleep(PAUSE_S)

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Come to an end."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def is_ready(self) -> bool:
        """Whether all recipes are."""
        return all(recipe.is_ready for recipe in self.all)

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
        self._log.call("notes", ("add", note), lambda: self.notes.add(note), same)

    def _use_register(self, draw: random.Random) -> None:
        window = int(time.monotonic() / WINDOW_S)
        key, recipe = str(window), f"dict:{self._epoch}:{window}"
        value, expected = self._value(), self.dict.get(key)
        calls: list[tuple[tuple[Any, ...], Callable[[], Any]]] = [
            (("get",), lambda: self.dict.get(key, linearizable=True, timeout=CALL_S)),
            (("put", value), lambda: self.dict.__setitem__(key, value)),
            (("put_if", expected, value), lambda: self.dict.put_if(key, expected, value, CALL_S)),
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
            self._log.call(recipe, ("get",), lambda: self.counter.get(CALL_S), same)
        else:
            self._log.call(recipe, ("add",), lambda: self.counter.add(timeout=CALL_S), same)

    def _hold(self, recipe: str, acquire: Callable[[], Any], release: Callable[[], bool]) -> None:
        permit = self._log.call(recipe, ("acquire",), acquire, lambda permit: permit.fencing)
        self._stop.wait(HOLD_S)
        self._log.call(recipe, ("release", permit.fencing), release, same)

    def _take_lock(self, _draw: random.Random) -> None:
        self._hold(f"lock:{self._epoch}", lambda: self.lock.acquire(CALL_S), lambda: self.lock.release(CALL_S))

    def _take_permit(self, _draw: random.Random) -> None:
        semaphore = self.semaphore
        self._hold(f"semaphore:{self._epoch}", lambda: semaphore.acquire(CALL_S), lambda: semaphore.release(CALL_S))

    def _lead(self, _draw: random.Random) -> None:
        election = self.election
        self._hold(f"election:{self._epoch}", lambda: election.lead(timeout=CALL_S), lambda: election.resign(CALL_S))

    def _meet(self, _draw: random.Random) -> None:
        self._log.call(f"barrier:{self._epoch}", ("wait",), lambda: self.barrier.wait(CALL_S), same)

    def _put(self, _draw: random.Random) -> None:
        value = self._value()
        self._log.call(f"queue:{self._epoch}", ("put", value), lambda: self.queue.put(value, CALL_S), same)

    def _work(self, draw: random.Random) -> None:
        self._take_job(draw.random() < GIVE_BACK, blocking=True)

    def _take_job(self, gives_back: bool, *, blocking: bool) -> bool:
        recipe, queue = f"queue:{self._epoch}", self.queue
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

        def do() -> str:
            time.sleep(HOLD_S)
            return value

        self._log.call(recipe, ("run",), lambda: self.onces[number].run(do, CALL_S), same)

    # -- the end -------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take all that is left in the queue."""
        while self._take_job(False, blocking=False):
            pass

    def final(self) -> dict[str, Any]:
        """What is seen at the end."""
        return {
            f"counter:{self._epoch}": self.counter.get(),
            f"queue:{self._epoch}": len(self.queue),
            "notes": self.notes.read(lambda: list(self.notes.notes)),
        }


def done(queue: Queue, item: int) -> bool:
    """Whether it was this worker's still."""
    try:
        queue.done(item, CALL_S)
    except rondo.NotExist:
        return False
    return True


def say(worker: Worker) -> None:
    """Whether it is ready, whenever that changes."""
    said = None
    while True:
        if worker.is_ready is not said:
            said = worker.is_ready
            print("ready" if said else "not ready", flush=True)
        time.sleep(LOOK_S)


def main() -> None:
    """Until the standard input ends."""
    endpoint, who, epoch, log, directory = sys.argv[1:]
    # Who could not be asked any more would wait for ever: the parent kills it.
    cluster = rondo.connect(endpoint, timeout=None)
    worker = Worker(cluster, who, epoch, Log(log, who), directory)
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
    cluster.close()


if __name__ == "__main__":
    main()
