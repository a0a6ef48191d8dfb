"""The replicated ledger on one node: start it, read its output, kill it or ask it to finish."""

import json
import os
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from rondo.cli.output import CommandError
from rondo.node.supervision.logfiles import last_words

LEAVE_SECONDS = 5.0


class Application(ABC):
    """A ledger on one node. A thread reads its output; the attributes may be read at any time."""

    def __init__(self, node_id: int) -> None:
        self.node_id = node_id
        self.done: list[str] = []
        """Transfers that were confirmed to this process."""
        self.taken_over: int | None = None
        """How many transfers the ledger had when it was received; None before."""
        self.memberships: list[list[int]] = []
        """The nodes in its group, after each change."""
        self.report: dict[str, Any] | None = None
        """The ledger at the end."""

    def hear(self, line: bytes) -> None:
        """Process a line of its output."""
        try:
            said = json.loads(line)
        except ValueError:
            return  # a line cut off by the kill
        match said["event"]:
            case "done":
                self.done += said["ids"]
            case "members":
                self.memberships.append(said["nodes"])
            case "current":
                self.taken_over = said["transfers"]
            case "ledger":
                self.report = said

    @abstractmethod
    def check(self) -> None:
        """Raises CommandError if it has ended by itself."""

    @abstractmethod
    def finish(self) -> None:
        """Ask it to end its transfers and then to report."""

    @abstractmethod
    def kill(self) -> None:
        """kill -9; its earlier output is still processed."""

    @abstractmethod
    def leave(self) -> None:
        """Ask it to leave the group and end."""


class ChildApplication(Application):
    """A ledger that is a process of the demo."""

    def __init__(self, node_id: int, endpoint: str, rate: float, errors: Path) -> None:
        super().__init__(node_id)
        self._errors = errors
        with errors.open("ab") as error_file:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "rondo.demo.replicated_ledger", str(rate)],
                env=os.environ | {"RONDO_SOCKET": endpoint},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=error_file,
                start_new_session=True,  # a Ctrl-C is for the demo, which then ends the ledger
            )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.hear(line)

    def check(self) -> None:
        """Raises CommandError if it has ended by itself."""
        if (code := self._process.poll()) is not None:
            raise CommandError(f"the ledger on node {self.node_id} ended with {code}: {last_words(self._errors)}")

    def finish(self) -> None:
        """Ask it to end its transfers and then to report."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"finish\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """kill -9; its earlier output is still processed."""
        self._process.kill()
        self._close()

    def leave(self) -> None:
        """Ask it to leave the group and end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._close()

    def _close(self) -> None:
        self._process.wait()
        self._listener.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
