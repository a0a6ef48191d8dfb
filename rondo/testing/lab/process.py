"""A process that a test runs inside a host: its pid is the real one, so it can be killed, stopped and continued."""

import signal
import subprocess
from pathlib import Path

STOP_TIMEOUT_S = 60.0


class Process:
    """A child of the test inside a host's namespaces, its standard output and error in a file.

    `pid` is the program itself: `nsenter` has replaced itself with it.
    """

    def __init__(self, popen: subprocess.Popen[bytes], name: str, output_path: Path) -> None:
        self._popen = popen
        self.name = name
        self.output_path = output_path

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs (a stopped process does)."""
        return self._popen.poll() is None

    @property
    def exit_status(self) -> int | None:
        """Its exit status, -N for a death by signal N, None while it runs."""
        return self._popen.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal. SIGSTOP and SIGCONT freeze and thaw it."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """Kill with SIGKILL and wait for its end."""
        self._popen.kill()
        self._popen.wait(STOP_TIMEOUT_S)

    def terminate(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Ask it to end with SIGTERM, wait, and return its exit status; raises TimeoutExpired if it does not end."""
        self._popen.terminate()
        return self._popen.wait(timeout_s)

    def wait(self, timeout_s: float) -> int:
        """Wait for its end and return its exit status; raises TimeoutExpired."""
        return self._popen.wait(timeout_s)

    def output(self) -> str:
        """Return what it wrote to standard output and error so far."""
        return self.output_path.read_text(encoding="utf-8", errors="replace")
