"""A flood at a member of a ring, from a host of the lab that is none: begun, ended, and how many packets it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from rondo.testing.lab.netns import Host
from rondo.testing.lab.rondo_node import REPOSITORY


class Flood:
    """Use it in a `with` statement: the flood lasts so long. `packets_per_s` is told afterwards."""

    def __init__(self, attacker: Host, source: Host, target: Host, kind: str, rate: int) -> None:
        argv = [sys.executable, "-m", "rondo.testing.lab.flooder", "--source", source.address]
        argv += ["--target", target.address, "--kind", kind, "--rate", str(rate)]
        self._errors = Path(attacker.directory / "flooder.err")
        with self._errors.open("wb") as errors:
            self._popen = attacker.popen(
                argv, environment={"PYTHONPATH": str(REPOSITORY)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=errors,
            )  # fmt: skip
        self.sent = 0
        self.packets_per_s = 0.0

    def __enter__(self) -> Self:
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        assert line == b"flooding\n", self._errors.read_text(errors="replace")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        out, _ = self._popen.communicate()
        _, sent, _, seconds = out.split()
        self.sent = int(sent)
        self.packets_per_s = self.sent / float(seconds)
