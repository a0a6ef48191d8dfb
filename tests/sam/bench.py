"""A SAM and a gateway in a directory of their own, and applications that write down what happens to them."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rondo.sam.client import Policy
from rondo.sam.commands import Sam
from rondo.testing.lab.waiting import wait_for

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
CONFIGURATION = """
totem {
    version: 2
    cluster_name: sam
    transport: udpu
    secauth: off
}
nodelist {
    node {
        nodeid: 1
        ring0_addr: 127.0.0.1
    }
}
uidgid {
    uid: 12345
}
uidgid {
    uid: 12346
}
"""


def eventually(condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.005)


class Bench:
    """The processes, and functions that ask them."""

    def __init__(self, resolved: Path) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="rondo-sam-", dir="/tmp"))
        self.directory.chmod(0o755)
        self.run_dir, self.state_dir = self.directory / "run", self.directory / "state"
        self.work = self.directory / "work"
        for each, mode in ((self.run_dir, 0o755), (self.state_dir, 0o700), (self.work, 0o777)):
            each.mkdir()
            each.chmod(mode)
        self.endpoint = f"ipc://{self.run_dir / 'gateway.sock'}"
        self._resolved = resolved
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        for service in ("ipc_gateway", "sam"):
            self.start(service)
        self.sam = Sam(self.endpoint)
        try:
            self.sam.status(timeout_s=PATIENCE_S)
        except BaseException:  # nobody else has it yet who would close it
            self.close()
            raise

    # -- services

    def start(self, service: str) -> None:
        """Start a service; it need not serve yet when this returns."""
        argv = [sys.executable, "-m", f"services.{service}", "--resolved", str(self._resolved)]
        argv += ["--run-dir", str(self.run_dir), *(["--state-dir", str(self.state_dir)] if service == "sam" else [])]
        with (self.directory / f"{service}.log").open("ab") as log:
            self._processes[service] = subprocess.Popen(argv, cwd=ROOT, stdout=log, stderr=log)

    def kill(self, service: str) -> None:
        """Kill a service with SIGKILL."""
        self._processes[service].kill()
        self._processes[service].wait()

    def restart(self, service: str) -> None:
        """Kill a service with SIGKILL, and start it again."""
        self.kill(service)
        self.start(service)

    def signal(self, service: str, number: int) -> None:
        self._processes[service].send_signal(number)

    def pid(self, service: str) -> int:
        return self._processes[service].pid

    @property
    def keeper_pid(self) -> int:
        return self.told()["keeper_pid"] or 0

    def told(self) -> dict[str, Any]:
        """The status of SAM from its control socket."""
        from rondo.ipc.control import ask

        return ask(self.run_dir, "sam", "status", timeout=PATIENCE_S)

    def stop_sam(self) -> None:
        """As when the node stops."""
        self.signal("sam", signal.SIGTERM)
        assert self._processes["sam"].wait(PATIENCE_S) == 0

    def log(self) -> str:
        return (self.directory / "sam.log").read_text()

    # -- applications

    def run(self, *command: str, interval_ms: int = 1000, policy: str = "restart", **options: Any) -> str:
        """Run an application as `rondo sam run` does. Returns its id."""
        environment = os.environ | {"DIR": str(self.work)} | options.pop("environment", {})
        answer = self.sam.run(
            list(command), interval_ms=interval_ms, policy=Policy(policy), environment=environment,
            directory=str(self.work), **options,
        )  # fmt: skip
        return str(answer["id"])

    def shell(self, script: str, **options: Any) -> str:
        """A script of bash: `rest` sleeps without a process of its own, `$EPOCHREALTIME` is the time."""
        prelude = 'exec 9<> "$DIR/never"; rest() { read -rt "$1" -u 9; }; ok() { echo ok >&"$RONDO_SAM_HEALTH"; }; '
        never = self.work / "never"
        if not never.exists():
            os.mkfifo(never)
            never.chmod(0o666)
        return self.run("bash", "-c", prelude + script, **options)

    def status(self, application_id: str) -> dict[str, Any]:
        """The status of one application."""
        (found,) = self.sam.status(application_id, timeout_s=PATIENCE_S)
        return found

    def wait(self, application_id: str, condition: Callable[[dict[str, Any]], object], what: str) -> dict[str, Any]:
        """Wait until a condition holds for the status of an application. Returns the status for which it held: the next
        one may be another."""
        return wait_for(lambda: self.status(application_id), lambda status: bool(condition(status)), what, PATIENCE_S)

    def wait_for_instance(self, application_id: str, instance: int) -> dict[str, Any]:
        """Wait until an instance runs."""
        return self.wait(application_id, lambda s: s["pid"] and s["instance"] == instance, f"instance {instance} runs")

    def written(self, name: str) -> list[str]:
        """The lines of a file that applications have written."""
        path = self.work / name
        return path.read_text().splitlines() if path.exists() else []

    def wait_for_line(self, name: str, count: int = 1) -> list[str]:
        """Wait until a file has a number of lines. Returns them."""
        eventually(lambda: len(self.written(name)) >= count, f"{count} lines in {name}")
        return self.written(name)

    # -- the end

    def check(self) -> None:
        """Stop as a node does. Check that no process is left and no service has failed."""
        self.sam.close()
        if self._processes["sam"].poll() is None:
            self.stop_sam()
        self.signal("ipc_gateway", signal.SIGTERM)
        assert self._processes["ipc_gateway"].wait(PATIENCE_S) == 0
        for log in self.directory.glob("*.log"):
            assert "Traceback" not in log.read_text(), log.read_text()
        keeper_log = self.run_dir / "log" / "keeper.log"
        assert not keeper_log.exists() or keeper_log.read_text() == ""
        eventually(lambda: not processes_in(self.directory), "nothing is left of it")

    def close(self) -> None:
        """Kill everything, whatever happened before."""
        self.sam.close()
        for process in self._processes.values():
            process.kill()
            process.wait()
        for _ in range(3):
            for pid in processes_in(self.directory):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        shutil.rmtree(self.directory, ignore_errors=True)


def processes_in(directory: Path) -> list[int]:
    """Processes with this directory in their environment or command line; not this one."""
    wanted = os.fsencode(directory)
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if wanted in told:
                found.append(int(entry.name))
    return found


def is_alive(pid: int) -> bool:
    """True if there is such a process, or a zombie of it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
