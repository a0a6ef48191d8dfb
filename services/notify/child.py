"""One run of a command: the event on its standard input, its time bounded, its whole process group ended with it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from typing import Any

from rondo.node import installation
from services.notify.queue import Notice

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
POST = "services.notify.post"
UMASK = 0o022
"""The usual one. The node's own is 077, and what a command writes is often for others to read."""


class Child:
    """One that runs. What it writes goes to the log of this service."""

    def __init__(self, command: str, webhook: str, notice: Notice, node: int) -> None:
        """Runs the command, or else posts to the webhook. Raises OSError."""
        event = {"node": node, "kind": notice.kind, **notice.event}
        body = json.dumps(event, ensure_ascii=False)
        # The address may hold a token, and everybody of this machine can read a command line.
        given = body if command else json.dumps({"url": webhook, "body": body})
        with os.fdopen(os.memfd_create("event"), "wb") as file:
            file.write(given.encode(errors="backslashreplace") + b"\n")
            file.flush()
            file.seek(0)
            self._process = subprocess.Popen(
                [command] if command else installation.command(POST),
                stdin=file, stdout=subprocess.DEVNULL, stderr=None, cwd="/", env=_environment(event),
                start_new_session=True, umask=UMASK,
            )  # fmt: skip
        self.descriptor = os.pidfd_open(self._process.pid)
        """Readable when it has ended (pidfd_open(2))."""

    def end(self) -> int | None:
        """How it has ended: its exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        """End it, and whatever it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """Forget it, once it has ended."""
        os.close(self.descriptor)


def _environment(event: dict[str, Any]) -> dict[str, str]:
    """Little, and nothing of the node's own. Texts come from logs, and stay one line."""
    told = {
        "NODE": event["node"], "KIND": event["kind"], "EVENT": event["event"], "TIME": event["time"],
        "LEVEL": event["level"], "TEXT": event["text"],
    }  # fmt: skip
    return {"PATH": PATH, "LANG": "C.UTF-8"} | {
        f"RONDO_{name}": str(value).replace("\0", "") for name, value in told.items()
    }
