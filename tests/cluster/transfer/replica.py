"""A process with a replica of a large state. It says what happens, a JSON array a line.

    python -m tests.cluster.transfer.replica ENDPOINT

`["ready", seconds]` when it has the state, `["progress", bytes]` while that comes, `["rate", clock_s, commands]` for
each quarter of a second in which it counts, and `["final", [...]]` at the end. It is told a line each: `grow MEBIBYTES`
makes the state so large, `count` begins to count, `final` ends that.

The large part of the state is a number of blocks that are made when they are asked for. So what the processes need
beside it is what is measured: a giver has nothing to keep, and a joiner keeps what has come until it has all.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import zlib
from collections.abc import Iterable
from random import Random
from typing import Any

import rondo
from rondo.recipes import StateMachine

MIB = 1024 * 1024
BLOCK = Random(18).randbytes(MIB - 8)
BLOCK_CRC = zlib.crc32(BLOCK)
CALLERS = 4
WAIT_S = 600.0
TOLD_EVERY_BYTES = 8 * MIB
RATE_S = 0.25


def say(*what: Any) -> None:
    """A line for the parent."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Large(StateMachine):
    """Blocks, and how often each caller has counted."""

    def __init__(self, cluster: rondo.Cluster) -> None:
        self.blocks = 0
        self.counts: dict[str, int] = {}
        self._told_bytes = 0
        super().__init__(cluster, "large", timeout=WAIT_S)

    def apply(self, command: bytes) -> bytes:
        what, argument = command.decode().split()
        if what == "grow":
            self.blocks = int(argument)
            return b""
        self.counts[argument] = self.counts.get(argument, 0) + 1
        return b"%d" % self.counts[argument]

    def snapshot(self) -> Iterable[bytes]:
        blocks, counts = self.blocks, json.dumps(self.counts).encode()

        def pieces() -> Iterable[bytes]:
            yield counts
            for number in range(blocks):
                yield number.to_bytes(8, "big") + BLOCK

        return pieces()

    def restore(self, pieces: Iterable[bytes]) -> None:
        them = iter(pieces)
        self.counts = json.loads(next(them))
        self.blocks = 0
        for piece in them:
            is_next = piece[:8] == self.blocks.to_bytes(8, "big")
            if not is_next or zlib.crc32(memoryview(piece)[8:]) != BLOCK_CRC:
                raise ValueError(f"block {self.blocks} is damaged")
            self.blocks += 1

    def progress(self, pieces: int, bytes_come: int) -> None:
        if bytes_come >= self._told_bytes + TOLD_EVERY_BYTES:
            self._told_bytes = bytes_come
            say("progress", bytes_come)


class Callers:
    """Threads that count."""

    def __init__(self, large: Large, name: str) -> None:
        self.done = [0] * CALLERS
        self._large, self._name = large, name
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._count, args=(n,)) for n in range(CALLERS)]
        self._threads.append(threading.Thread(target=self._tell))
        for thread in self._threads:
            thread.start()

    def _count(self, n: int) -> None:
        while not self._stop.is_set():
            value = int(self._large.do(f"count {self._name}.{n}".encode()))
            self.done[n] += 1
            assert value == self.done[n], "none is lost, and none is done twice"

    def _tell(self) -> None:
        before = 0
        while not self._stop.wait(RATE_S):
            now = sum(self.done)
            say("rate", time.monotonic(), now - before)
            before = now

    def stop(self) -> None:
        """Return when all have ended."""
        self._stop.set()
        for thread in self._threads:
            thread.join()


def main() -> None:
    """Until the standard input ends."""
    began_s = time.monotonic()
    with rondo.connect(sys.argv[1], timeout=WAIT_S) as cluster, Large(cluster) as large:
        say("ready", time.monotonic() - began_s)
        callers: Callers | None = None
        for line in sys.stdin:
            what, *arguments = line.split()
            if what == "grow":
                large.do(f"grow {arguments[0]}".encode())
                say("grown")
            elif what == "count":
                callers = Callers(large, str(cluster.node_id))
            else:
                if callers is not None:
                    callers.stop()
                say("final", large.read(lambda: [large.blocks, dict(sorted(large.counts.items()))]))


if __name__ == "__main__":
    main()
