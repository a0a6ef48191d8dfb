"""Rondo's totem process in a host of a lab: it forms a ring by itself, without the other services."""

import re
import signal
import sys
from pathlib import Path
from typing import Any

from rondo.ipc.control import ControlError, ask
from rondo.testing.lab.netns import Host
from rondo.testing.lab.process import Process
from rondo.testing.lab.ring_config import AnyConfig
from rondo.testing.lab.ring_nodes import RingNode, View

REPOSITORY = Path(__file__).parents[3]
# In the host's own /run: short, because the path of a socket may have no more than 107 bytes.
RUN_DIRECTORY = "/run/rondo"
SUSPICIOUS = re.compile(r"Traceback|assert|exception|\berror\b|\bcritical\b", re.IGNORECASE)


class RondoNode(RingNode):
    """One totem process; its node identifier is the number of its host."""

    def __init__(self, host: Host, config: AnyConfig) -> None:
        super().__init__(host)
        self.config_path = host.directory / "rondo.conf"
        self.config_path.write_text(config.text(logging={"to_syslog": "no", "to_stderr": "yes"}))
        self._state_directory = host.directory / "rondo-state"
        self._state_directory.mkdir()

    def _launch(self) -> Process:
        options = ["-c", str(self.config_path), "--run-dir", RUN_DIRECTORY, "--nodeid", str(self.host.number)]
        argv = [sys.executable, "-m", "services.totem", *options, "--state-dir", str(self._state_directory)]
        return self.host.start(argv, "totem", {"PYTHONPATH": str(REPOSITORY)})

    def _leave(self) -> None:
        self.process.signal(signal.SIGTERM)

    def status(self) -> dict[str, Any] | None:
        """Return what the process says of itself; None while it does not answer.

        It is asked over its control socket, as `python -m services.totem --status` does, without a process for each
        question: three of these at a time would keep the machine from doing what the test waits for.
        """
        try:
            return ask(self.host.path(RUN_DIRECTORY), "totem", "status")
        except ControlError:
            return None

    def view(self) -> View | None:
        """Return the ring it is in by its own account; None while it is in none or does not answer."""
        status = self.status()
        if status is None or not status.get("ring"):
            return None
        return View(
            representative=status["ring"]["representative"],
            sequence=status["ring"]["sequence"],
            members=tuple(status["members"]),
            ready=status["state"] == "operational",
        )

    def log(self) -> str:
        """Return what it wrote to standard error and output so far, in all its lives."""
        return "" if self._process is None else self._process.output()

    def _suspicious_lines(self) -> list[str]:
        return [line for line in self.log().splitlines() if SUSPICIOUS.search(line)]
