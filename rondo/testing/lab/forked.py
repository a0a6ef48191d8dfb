"""The test's side of `service_forker`.

It starts, kills and waits for services, though they are not its children.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rondo.testing.lab.netns import LabError

END_S = 60.0


class ForkedService:
    """A running service that the forker has started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor: int | None = None
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            self._descriptor = os.pidfd_open(pid)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal. Nothing happens if the process has ended."""
        if self._descriptor is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def wait(self) -> None:
        """Return when it has ended."""
        if self._descriptor is None:
            return
        if not select.select([self._descriptor], [], [], END_S)[0]:
            raise LabError(f"process {self.pid} does not end")
        os.close(self._descriptor)
        self._descriptor = None


class ServiceForker:
    """Starts services. Close it: what it has started ends with it."""

    def __init__(self, service: str, log: Path) -> None:
        """Start the forker. It loads the code of `service`, the first to be started, while the caller goes on."""
        path = os.pathsep.join(os.path.abspath(each) for each in sys.path if each)
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "rondo.testing.lab.service_forker", service],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=os.environ | {"PYTHONPATH": path},
                start_new_session=True,  # an interrupt from the keyboard is for the test
                text=True,
            )
        self._log = log

    def start(self, service: str, arguments: Sequence[str], log: Path, namespaces: Sequence[str] = ()) -> ForkedService:
        """Start a service, with its output appended to `log`. Raises LabError."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"service": service, "arguments": [*arguments], "log": str(log), "namespaces": [*namespaces]}
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return ForkedService(int(self._process.stdout.readline()))
        except (BrokenPipeError, ValueError):
            raise LabError(f"services cannot be started: {self._log.read_text(errors='replace')[-1000:]}") from None

    def close(self) -> None:
        """End the forker and all that it has started. May be called again."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._process.wait()
