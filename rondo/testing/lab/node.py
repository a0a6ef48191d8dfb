"""A whole node in a host of a lab, started by `rondo start`; its processes are killed and frozen by name."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from rondo.ipc.control import ControlError, ask
from rondo.node.supervision import SERVICES, processes
from rondo.testing.lab.netns import Host, processes_in_namespace_of
from rondo.testing.lab.other_users import let_in
from rondo.testing.lab.ring_nodes import View
from rondo.testing.lab.rondo_node import REPOSITORY, SUSPICIOUS
from rondo.testing.lab.waiting import wait_for

START_TIMEOUT_S = 60.0
STATUS_TIMEOUT_S = 1.0


def _is_starting(pid: int) -> bool:
    try:
        return b"rondo.cli.main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


EXCUSED = re.compile(r"The ring process \(\d+\) died|not on the network|Network is (down|unreachable)")
"""Log lines that the faults of a test cause, and that are no sign of a defect."""


class Node:
    """Node N of a cluster, on host N. `token` makes its run directory unlike that of any other node on this machine.

    `user`: root starts the node, and it runs as this user, who must be able to read the configuration.
    """

    def __init__(self, host: Host, config_path: Path, token: str, user: str = "") -> None:
        self.host = host
        self.number = host.number
        self._config_path = config_path
        self.run_dir = Path(f"/run/{token}-{host.number}")
        """As the host sees it."""
        self.state_dir = Path(f"{self.run_dir}-state") if user else host.directory / "state"
        self._user = user
        self._starting: subprocess.Popen[bytes] | None = None
        self.starts = 0

    @property
    def socket(self) -> str:
        """Where applications connect to, on the host."""
        return f"ipc://{self.run_dir}/gateway.sock"

    def launch(self) -> None:
        """Run `rondo start`, and do not wait for it."""
        self.starts += 1
        command = ["start", "-c", str(self._config_path), "--nodeid", str(self.number)]
        places = ["--run-dir", str(self.run_dir), "--state-dir", str(self.state_dir)]
        if self._user:
            if self.starts == 1:
                let_in(self.host)
            command += ["--user", self._user]
            self.host.run(["install", "--directory", f"--owner={self._user}", *places[1::2]])
        with (self.host.directory / "start.out").open("ab") as output:
            self._starting = self.host.popen(
                [sys.executable, "-m", "rondo.cli.main", *command, *places],
                environment={"PYTHONPATH": str(REPOSITORY)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_until_started(self) -> None:
        """Return when `rondo start` has returned. Raises AssertionError if it failed."""
        assert self._starting is not None
        status = self._starting.wait(START_TIMEOUT_S)
        assert status == 0, f"node {self.number}: rondo start ended with {status}: {self.start_output()[-2000:]}"

    def stop(self) -> None:
        """Run `rondo stop`: the node leaves the ring in order. Raises LabError if it fails."""
        self.host.run(
            [sys.executable, "-m", "rondo.cli.main", "stop", "--run-dir", str(self.run_dir)],
            environment={"PYTHONPATH": str(REPOSITORY)},
            timeout_s=START_TIMEOUT_S,
        )

    def reap(self) -> None:
        """Reap the process of a `rondo start` that has ended."""
        if self._starting is not None:
            self._starting.poll()

    def start_output(self) -> str:
        """The output of all starts."""
        path = self.host.directory / "start.out"
        return path.read_text(errors="replace") if path.exists() else ""

    def pids(self, name: str | None = None) -> list[int]:
        """The pids of its running processes: of all, or of one service."""
        return [found.pid for found in processes.find(self.run_dir) if name in (None, found.name)]

    def send(self, number: signal.Signals, name: str | None = None) -> int:
        """Send a signal to one service, or to all processes of the node. Returns how many got it."""
        found = [each for each in processes.find(self.run_dir) if name in (None, each.name)]
        # supervisord first: nothing is to be started again behind our back.
        found.sort(key=lambda each: each.name != processes.SUPERVISORD)
        held = processes.grips(self.run_dir, found)
        for grip in held:
            grip.send(number)
            if number == signal.SIGKILL:
                grip.wait(STATUS_TIMEOUT_S)
            grip.close()
        return len(held)

    def kill(self) -> None:
        """Kill everything at once, as a power failure would, also a start in progress."""
        if self._starting is not None and self._starting.poll() is None:
            self._starting.kill()
            self._starting.wait()

        def left() -> list[int]:
            # A supervisord that was forked off and has not become one yet is still a `rondo start`.
            self.send(signal.SIGKILL)
            starting = [pid for pid in processes_in_namespace_of(self.host.holder_pid) if _is_starting(pid)]
            for pid in starting:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return starting + self.pids()

        wait_for(left, lambda pids: not pids, f"node {self.number} is dead", START_TIMEOUT_S)

    def status(self, service: str) -> dict[str, Any]:
        """The status of a service; empty while it does not answer."""
        try:
            return ask(self.host.path(str(self.run_dir)), service, "status", timeout=STATUS_TIMEOUT_S)
        except ControlError:
            return {}

    def told(self, service: str) -> dict[str, Any]:
        """The status of a service that runs, however long a busy machine holds it up."""
        what = f"node {self.number}: {service} answers"
        return wait_for(lambda: self.status(service), bool, what, START_TIMEOUT_S)

    def view(self) -> View | None:
        """The ring on which its groups are in step and clients are served; None while there is none."""
        totem, cpg, gateway = (self.status(name) for name in ("totem", "cpg", "ipc_gateway"))
        if not totem.get("ring") or not cpg.get("ring"):
            return None
        ring, members = totem["ring"], totem["members"]
        ready = (
            totem["state"] == "operational"
            and cpg["state"] == gateway.get("state") == "operational"
            and cpg["ring"] == {**ring, "members": members}
        )
        return View(ring["representative"], ring["sequence"], tuple(members), ready)

    def memory_kb(self) -> dict[str, int]:
        """Resident memory of each of its processes, KiB."""
        sizes = {}
        for found in processes.find(self.run_dir):
            try:
                lines = Path(f"/proc/{found.pid}/status").read_text().splitlines()
            except OSError:
                continue
            sizes[found.name] = next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)
        return sizes

    def log(self, service: str) -> str:
        """The log of a service since the run directory was made."""
        path = self.host.path(str(self.run_dir / "log" / f"{service}.log"))
        return path.read_text(errors="replace") if path.exists() else ""

    def suspicious(self) -> list[str]:
        """Log lines that no fault from outside excuses."""
        return [
            f"node {self.number} {service}: {line}"
            for service in (*SERVICES, "supervisord")
            for line in self.log(service).splitlines()
            if SUSPICIOUS.search(line) and not EXCUSED.search(line)
        ]
