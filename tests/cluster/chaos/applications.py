"""The applications of a run: two on each node, with their logs; killed, frozen, started again."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rondo.testing.lab.node import Node
from rondo.testing.lab.process import STOP_TIMEOUT_S
from rondo.testing.lab.rondo_node import REPOSITORY


class Application:
    """One process of an application. `name` tells its node, its place there, and the number of this start."""

    def __init__(self, node: Node, place: str, start: int, seed: int, rate: float, *, churn: bool) -> None:
        self.place = place
        self.node = node.number
        self.name = f"n{node.number}{place}{start}"
        self.start = start
        self.log_path = node.host.directory / f"{self.name}.ndjson"
        groups = ["--groups", "a,b" if place == "x" else "a"]
        if place == "y" and churn:
            groups += ["--churn", "b"]
        self.killed = False
        with (node.host.directory / f"{self.name}.out").open("ab") as output:
            self.process = node.host.popen(
                [
                    sys.executable, "-m", "tests.cluster.chaos.member", "--socket", node.socket, "--name", self.name,
                    "--log", str(self.log_path), "--rate", str(rate), "--seed", str(seed), *groups,
                ],
                environment={"PYTHONPATH": str(REPOSITORY)}, stdin=subprocess.PIPE, stdout=output, stderr=output,
            )  # fmt: skip
        self.output_path: Path = node.host.directory / f"{self.name}.out"

    def tell(self, command: str) -> None:
        """Write a line to its standard input."""
        if self.process.poll() is None and self.process.stdin is not None:
            self.process.stdin.write(f"{command}\n".encode())
            self.process.stdin.flush()


class Applications:
    """All applications of a run. Methods do not raise: `faults` lists what is wrong."""

    def __init__(self, nodes: Mapping[int, Node], seed: int, rate: float, note: Callable[..., None]) -> None:
        self._nodes = nodes
        self._seed = seed
        self._rate = rate
        self._note = note
        self.all: list[Application] = []
        self._current: dict[str, Application] = {}
        self._churn = True

    def start_all(self, *, churn: bool = True) -> None:
        """Two on each node: x is always in two groups, y joins and leaves the second one again and again."""
        self._churn = churn
        for number in self._nodes:
            for place in ("x", "y"):
                self._start(number, place, 1)

    def _start(self, number: int, place: str, start: int) -> None:
        rate = self._rate if place == "x" else self._rate / 4
        application = Application(self._nodes[number], place, start, self._seed, rate, churn=self._churn)
        self.all.append(application)
        self._current[f"{number}{place}"] = application

    def living(self) -> list[Application]:
        """The applications that should be alive."""
        return [each for each in self._current.values() if not each.killed]

    def _of(self, node: int, draw: int) -> Application:
        return self._current[f"{node}{'xy'[draw % 2]}"]

    def kill(self, node: int, draw: int) -> str:
        """Kill one application of a node. Returns the argument with which `start` starts its successor."""
        application = self._of(node, draw)
        application.process.kill()
        application.process.wait()
        application.killed = True
        self._note("fail", node=node, name=application.name)
        return f"{node}{application.place}"

    def start(self, name: str) -> None:
        """Start the successor of a killed application."""
        before = self._current[name]
        self._start(before.node, before.place, before.start + 1)

    def send(self, node: int, draw: int, number: signal.Signals) -> str:
        """Send a signal to one application of a node."""
        application = self._of(node, draw)
        application.process.send_signal(number)
        return application.name

    def send_all(self, node: int, number: signal.Signals) -> None:
        """Send a signal to all applications of a node."""
        for place in "xy":
            self._current[f"{node}{place}"].process.send_signal(number)

    def tell(self, command: str) -> None:
        """Write a line to all that live."""
        for application in self.living():
            application.tell(command)

    def end(self) -> None:
        """Have all leave their groups and end."""
        for application in self.living():
            if application.process.stdin is not None:
                application.process.stdin.close()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for application in self.living():
            try:
                application.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                application.process.kill()
                application.process.wait()

    def faults(self) -> list[str]:
        """Complaints of applications, and applications that ended although nobody killed them."""
        found = [
            f"application {each.name} ended by itself, with {each.process.returncode}"
            for each in self.all
            if not each.killed and each.process.poll() not in (None, 0)
        ]
        for each in self.all:
            words = each.output_path.read_text(errors="replace").strip()
            if words:
                found.append(f"application {each.name}: {words[-2000:]}")
        return found
