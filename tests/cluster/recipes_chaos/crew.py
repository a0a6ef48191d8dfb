"""The worker processes of all nodes: started, killed, frozen, and asked at the end."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rondo.testing import TestCluster
from tests.cluster.recipes_chaos.shells import ASYNCIO, BLOCKING

ANSWER_S = 120.0
SHELLS = (BLOCKING, ASYNCIO)


class Process:
    """One worker process, and the lines that it has written."""

    def __init__(self, argv: list[str], errors: Path) -> None:
        self.is_ready = False
        self.ready_since_s = 0.0
        self.bugs: list[str] = []
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        with errors.open("ab") as file:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True, bufsize=1
            )
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = line.strip()
            if said in ("ready", "not ready"):
                self.is_ready = said == "ready"
                self.ready_since_s = time.monotonic()
            elif said.startswith('{"bug"'):
                self.bugs.append(json.loads(said)["bug"])
            else:
                self._said.put(said)

    def ask(self, what: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(what + "\n")

    def answer(self) -> str:
        """The next line that it writes. Raises queue.Empty."""
        return self._said.get(timeout=ANSWER_S)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def end(self, *, kill: bool = True) -> None:
        """Kill it, or let it end by itself."""
        if kill:
            self._process.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._listener.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Crew:
    """A worker on each node. Those of one epoch share their states; those on disk all do. Every other one that is
    started has the shells of asyncio: both are in each group, and one after the other on each node."""

    def __init__(self, cluster: TestCluster, nodes: tuple[int, ...], directory: Path, used: Iterable[str]) -> None:
        """`used`: the kinds of recipes that the workers use."""
        self._cluster = cluster
        self._used = ",".join(used)
        self._directory = directory
        self._nodes = nodes
        self.epoch = 1
        self.bugs: list[str] = []
        self.logs: dict[int, list[Path]] = {1: []}
        """By epoch: the logs of its workers."""
        self._started = 0
        self.processes: dict[int, Process] = {}
        for node in nodes:
            self.start(node)

    def start(self, node: int) -> None:
        """Start a worker on a node."""
        self._started += 1
        shell = SHELLS[self._started % len(SHELLS)]
        who = f"n{node}.{self._started}.{shell}"
        log, store = self._directory / f"{who}.log", self._directory / f"store{node}"
        log.touch()
        store.mkdir(exist_ok=True)
        self.logs[self.epoch].append(log)
        endpoint = self._cluster[node].endpoint
        argv = [sys.executable, "-m", "tests.cluster.recipes_chaos.worker", endpoint, who, f"e{self.epoch}"]
        self.processes[node] = Process([*argv, str(log), str(store), shell, self._used], self._directory / "errors")

    def kill(self, node: int) -> None:
        """Kill the worker of a node."""
        process = self.processes.pop(node)
        process.end()
        self.bugs += process.bugs

    def kill_all(self) -> None:
        """Kill all workers, and so end the states in memory."""
        for node in list(self.processes):
            self.kill(node)
        self.epoch += 1
        self.logs[self.epoch] = []

    def are_ready(self, for_s: float = 0.0) -> bool:
        """True if all workers have been ready for this long."""
        since_s = time.monotonic() - for_s
        processes = self.processes.values()
        return len(processes) == len(self._nodes) and all(
            each.is_ready and each.ready_since_s <= since_s for each in processes
        )

    def finals(self) -> dict[str, list[Any]]:
        """Stop all workers. Returns what each of them sees at the end."""
        processes = list(self.processes.values())
        self._all(processes, "stop")
        self._all(processes[:1], "drain")
        seen = [json.loads(line)["final"] for line in self._all(processes, "final")]
        for process in processes:
            process.end(kill=False)
            self.bugs += process.bugs
        self.processes.clear()
        return {recipe: [each[recipe] for each in seen] for recipe in seen[0]}

    @staticmethod
    def _all(processes: list[Process], what: str) -> list[str]:
        for process in processes:
            process.ask(what)
        return [process.answer() for process in processes]
