"""The bench's side of a measuring application: it is told lines and answers with lines of JSON (bench/clients)."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rondo.testing.lab.netns import Host

READY_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 300.0
CHUNK_BYTES = 1 << 20


class ClientError(Exception):
    """A client has ended, or does not answer."""


class Client:
    """One process in a host, a member of one group."""

    def __init__(self, host: Host, argv: Sequence[str], name: str, environment: Mapping[str, str]) -> None:
        self.host = host
        self._name = f"{host.name}/{name}"
        self._errors = host.directory / f"{name}.err"
        with self._errors.open("wb") as errors:
            self._popen = host.popen(
                argv, environment=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )
        self._pending = b""

    @property
    def pid(self) -> int:
        return self._popen.pid

    def wait_ready(self) -> None:
        """Wait until it is a member of its group. Raises ClientError."""
        assert self.answer(READY_TIMEOUT_S) == {"ready": True}

    def tell(self, *words: object) -> None:
        """Give a command."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        self._popen.stdin.flush()

    def answer(self, timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """The next line that it says. Raises ClientError."""
        assert self._popen.stdout is not None
        descriptor = self._popen.stdout.fileno()
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._pending:
            if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise ClientError(f"{self._name} has not answered for {timeout_s} s: {self._last_words()}")
            chunk = os.read(descriptor, CHUNK_BYTES)
            if not chunk:
                raise ClientError(f"{self._name} has ended: {self._last_words()}")
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        return "\n".join(self._errors.read_text(errors="replace").splitlines()[-5:])

    def close(self) -> None:
        """Let it leave its group and end."""
        with contextlib.suppress(OSError):
            self.tell("quit")
        try:
            self._popen.wait(10.0)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
