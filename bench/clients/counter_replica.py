"""A process with one replica of a counter, and callers that add to it: of Rondo, or of PySyncObj.

    python -m bench.clients.counter_replica rondo ENDPOINT
    python -m bench.clients.counter_replica pysyncobj HOST:PORT PARTNER,PARTNER

It says `ready`. It is told a line each, and answers with one of JSON: `count CALLERS SECONDS` gives the time of each
increment in seconds; `gap CALLERS SECONDS` the longest time without an increment; `leads` whether it is the leader.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator

import rondo
from rondo.recipes import Replicated, replicated

WAIT_S = 60.0


class Count(Replicated):
    """Rondo's."""

    def __init__(self, cluster: rondo.Cluster) -> None:
        self.value = 0
        super().__init__(cluster, "bench", timeout=WAIT_S)

    @replicated
    def add(self) -> int:
        """One more."""
        self.value += 1
        return self.value


@contextlib.contextmanager
def of_rondo(endpoint: str) -> Iterator[tuple[Callable[[], object], Callable[[], bool]]]:
    """How to add one; nobody leads."""
    with rondo.connect(endpoint, timeout=WAIT_S) as cluster, Count(cluster) as count:
        yield count.add, lambda: False


@contextlib.contextmanager
def of_pysyncobj(address: str, partners: str) -> Iterator[tuple[Callable[[], object], Callable[[], bool]]]:
    """How to add one, and whether this process leads. With PySyncObj's defaults."""
    import pysyncobj

    class Theirs(pysyncobj.SyncObj):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(address, partners.split(","))
            self.value = 0

        @pysyncobj.replicated  # type: ignore[untyped-decorator]
        def add(self) -> int:
            self.value += 1
            return self.value

    theirs = Theirs()
    while not theirs.isReady():
        time.sleep(0.01)

    def add() -> None:
        with contextlib.suppress(pysyncobj.SyncObjException):  # no leader: the next call finds one
            theirs.add(sync=True, timeout=WAIT_S)
            return
        time.sleep(0.001)
        add()

    yield add, lambda: str(theirs.getStatus()["leader"]) == address
    theirs.destroy()


def count(add: Callable[[], object], callers: int, seconds: float) -> list[tuple[float, float]]:
    """Begin and end of each increment."""
    done: list[tuple[float, float]] = []
    end_s = time.monotonic() + seconds

    def call() -> None:
        while (began_s := time.monotonic()) < end_s:
            add()
            done.append((began_s, time.monotonic()))

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


def main() -> None:
    """Until the standard input ends."""
    system, *arguments = sys.argv[1:]
    with (of_rondo if system == "rondo" else of_pysyncobj)(*arguments) as (add, leads):
        add()
        print("ready", flush=True)
        for line in sys.stdin:
            what, *numbers = line.split()
            if what == "leads":
                answer: object = leads()
            else:
                done = count(add, int(numbers[0]), float(numbers[1]))
                ends = sorted(ended_s for _, ended_s in done)
                gap_s = max(later - earlier for earlier, later in itertools.pairwise(ends))
                answer = gap_s if what == "gap" else [ended_s - began_s for began_s, ended_s in done]
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
