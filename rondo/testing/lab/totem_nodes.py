"""Totem processes on 127.0.0.x, without root: started, asked, killed, and gone when the test is over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rondo.ipc.control import ControlError, ask

START_SECONDS = 60.0
"""How long anything may take on a busy machine."""


def eventually(true: Callable[[], bool], seconds: float = START_SECONDS) -> bool:
    """Wait until `true()` holds. False if it does not within this time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.02)
    return true()


class TotemNode:
    """One totem process; it may be started again after its end."""

    def __init__(self, node: int, config: Path, directory: Path) -> None:
        self.node = node
        self.run_dir, self.state_dir = directory / f"run{node}", directory / f"state{node}"
        for each in (self.run_dir, self.state_dir):
            each.mkdir(mode=0o700)
        self.stderr = directory / f"stderr{node}"
        self.command = [
            sys.executable, "-m", "services.totem", "-c", str(config), "--run-dir", str(self.run_dir),
            "--state-dir", str(self.state_dir), "--nodeid", str(node),
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process."""
        with self.stderr.open("ab") as stderr:
            self.process = subprocess.Popen(self.command, stderr=stderr, stdout=subprocess.DEVNULL)

    @property
    def pid(self) -> int:
        """The pid of the running process."""
        assert self.process is not None
        return self.process.pid

    def status(self) -> dict[str, Any] | None:
        """Its status; None while it does not answer."""
        try:
            return ask(self.run_dir, "totem", "status", START_SECONDS / 2)
        except ControlError:
            return None

    def is_in_ring_of(self, *members: int) -> bool:
        """True if its ring has exactly these members, and their sync is complete."""
        status = self.status()
        return (
            status is not None
            and status["state"] == "operational"
            and status["members"] == list(members)
            and not status["syncing"]
        )

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal and wait for the end of the process. Returns its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(START_SECONDS)

    def clean_up(self) -> None:
        """Kill it if it lives."""
        if self.process is not None and self.process.poll() is None:
            self.end()

    def lines(self) -> list[str]:
        """The lines that it has logged."""
        return self.stderr.read_text().splitlines() if self.stderr.exists() else []

    def resident_kib(self) -> int:
        """Resident memory in KiB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 1024

    def cpu_seconds(self) -> float:
        """Processor time used so far, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def totem_ring(
    stack: ExitStack,
    directory: Path,
    port: int,
    nodes: int = 3,
    addresses: str = "127.0.0.{}",
    transport: str = "udpu",
    options: str = "",
    security: str = "  secauth: off\n",
    token_ms: int = 1500,
) -> list[TotemNode]:
    """Nodes 1..n of a ring, without packet security unless told otherwise, not started yet."""
    listed = "".join(
        f"  node {{\n    ring0_addr: {addresses.format(n)}\n    nodeid: {n}\n  }}\n" for n in range(1, nodes + 1)
    )
    config = directory / "corosync.conf"
    config.write_text(
        f"totem {{\n  version: 2\n  cluster_name: test{port}\n  transport: {transport}\n{security}"
        f"  token: {token_ms}\n  token_coefficient: 0\n{options}  interface {{\n    mcastport: {port}\n  }}\n}}\n"
        f"nodelist {{\n{listed}}}\n"
    )
    made = [TotemNode(n, config, directory) for n in range(1, nodes + 1)]
    for node in made:
        stack.callback(node.clean_up)
    return made
