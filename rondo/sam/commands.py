"""The requests behind `rondo sam`, for other programs, too: run a program, list applications, stop one, read output."""

import os
import secrets
import signal
from typing import Any

from rondo._client.endpoint import endpoint_of
from rondo.protocol.sam_gateway import Op
from rondo.sam.client import Policy
from rondo.sam.link import SamLink

KEY_BYTES = 16
START_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 30.0
"""How long a stop may take beyond the application's interval; after the interval the kill is certain."""


class Sam:
    """A connection for commands. Use it in a `with` statement."""

    def __init__(self, endpoint: str | None = None) -> None:
        """Raises InvalidParameter, AccessDenied."""
        self._link = SamLink(endpoint_of(endpoint))

    def run(
        self,
        command: list[str],
        *,
        policy: Policy = Policy.RESTART,
        interval_ms: int = 1000,
        warn_signal: int = signal.SIGTERM,
        check: str = "",
        environment: dict[str, str] | None = None,
        directory: str | None = None,
    ) -> dict[str, Any]:
        """Start a program under SAM, in this process's directory and environment: `{"id": ..., "pid": ...}`.

        Returns when it runs, or when it waits for quorum ("pid" is then 0). Raises FailedOperation with the reason if
        it could not be executed; NotExist under a quorum policy without a quorum provider.
        """
        umask = os.umask(0o077)
        os.umask(umask)
        asked = os.environb if environment is None else {os.fsencode(k): os.fsencode(v) for k, v in environment.items()}
        arguments = {
            "key": secrets.token_bytes(KEY_BYTES),
            "program": os.fsencode(command[0]),
            "arguments": [os.fsencode(each) for each in command],
            "directory": os.fsencode(directory or os.getcwd()),
            "environment": [name + b"=" + value for name, value in asked.items()],
            "umask": umask,
            "policy": policy.value,
            "interval_ms": interval_ms,
            "signal": int(warn_signal),
            "check": os.fsencode(os.path.abspath(check)) if check else b"",
        }
        answer: dict[str, Any] = self._link.ask(Op.RUN, arguments, START_TIMEOUT_S)
        return answer

    def status(self, application_id: str | None = None, *, timeout_s: float = ANSWER_TIMEOUT_S) -> list[dict[str, Any]]:
        """All applications, or one with its whole history."""
        listed: list[dict[str, Any]] = self._link.ask(
            Op.STATUS, {"id": application_id} if application_id else {}, timeout_s
        )
        return listed

    def stop(self, application_id: str) -> dict[str, Any]:
        """Stop it for good. Returns its final state when it has ended."""
        (found,) = self.status(application_id)
        timeout_s = STOP_TIMEOUT_S + found["interval_ms"] / 1000
        answer: dict[str, Any] = self._link.ask(Op.STOP, {"id": application_id}, timeout_s)
        return answer

    def environment(self, application_id: str) -> list[bytes]:
        """Its environment: `NAME=VALUE`."""
        listed: list[bytes] = self._link.ask(Op.ENVIRONMENT, {"id": application_id}, ANSWER_TIMEOUT_S)
        return listed

    def logs(self, application_id: str, place: tuple[int, int] = (0, 0)) -> tuple[bytes, tuple[int, int], bool]:
        """Its output from a place on: the bytes, the place after them, and whether there is more."""
        inode, offset = place
        answer = self._link.ask(Op.LOGS, {"id": application_id, "inode": inode, "offset": offset}, ANSWER_TIMEOUT_S)
        return answer["data"], (answer["inode"], answer["offset"]), answer["more"]

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    def __enter__(self) -> "Sam":
        return self

    def __exit__(self, *_rest: object) -> None:
        self.close()
