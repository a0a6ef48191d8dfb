"""An application with its state on disk: notes things until it is killed, and says which were acknowledged.

python -m tests.cluster.stored_notes ENDPOINT DIRECTORY write|read
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterable

import rondo
from rondo.recipes import StateMachine, Store

CALLERS = 8
TIMEOUT_S = 60.0


class Notes(StateMachine):
    """The state: all notes, in order."""

    def __init__(self, cluster: rondo.Cluster, directory: str) -> None:
        self.notes: list[str] = []
        super().__init__(cluster, "notes", timeout=TIMEOUT_S, store=Store(directory, fsync=True, compact_bytes=100_000))

    def apply(self, command: bytes) -> bytes:
        self.notes.append(command.decode())
        return b""

    def snapshot(self) -> Iterable[bytes]:
        return [json.dumps(self.notes).encode()]

    def restore(self, pieces: Iterable[bytes]) -> None:
        self.notes = json.loads(b"".join(pieces))


def write(notes: Notes, caller: int) -> None:
    """Add notes one after the other. Each is printed once it is acknowledged."""
    count = 0
    while True:
        count += 1
        note = f"{os.getpid()}.{caller}.{count}"
        notes.do(note.encode())
        os.write(1, note.encode() + b"\n")


def main() -> None:
    endpoint, directory, what = sys.argv[1:]
    with rondo.connect(endpoint, timeout=TIMEOUT_S) as cluster, Notes(cluster, directory) as notes:
        if what == "read":
            print(json.dumps(notes.read(lambda: list(notes.notes))), flush=True)
            sys.stdin.read()
            return
        callers = [threading.Thread(target=write, args=(notes, number)) for number in range(CALLERS)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()


if __name__ == "__main__":
    main()
