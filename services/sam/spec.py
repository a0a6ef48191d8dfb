"""What the keeper needs to start an application or its check, and where the files of each application are."""

import os
from pathlib import Path
from typing import Any

from services.sam.application import Application
from services.sam.keeper.wire import HEALTH_DESCRIPTOR

DIRECTORY = "sam"
DIRECTORY_MODE = 0o711
"""Applications of other users reach their own FIFOs by name, but cannot list the directory."""
MARK = b"RONDO_SAM_ID="
OURS = (b"RONDO_SAM_", b"RONDO_SOCKET=")


class Places:
    """The paths of the applications' files in the run directory."""

    def __init__(self, run_dir: Path, endpoint: str) -> None:
        """`endpoint`: the address of this node for applications. Raises OSError."""
        self.endpoint = endpoint
        self._directory = run_dir / DIRECTORY
        self._directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        self._directory.chmod(DIRECTORY_MODE)
        self.is_root = os.geteuid() == 0

    def health_of(self, application_id: str) -> str:
        """Its health FIFO."""
        return str(self._directory / f"{application_id}.health")

    def output_of(self, application_id: str) -> tuple[str, str]:
        """The FIFO for its output, and the file that the output is written to."""
        return str(self._directory / f"{application_id}.out"), self.log_of(application_id)

    def log_of(self, application_id: str) -> str:
        """The file with its output; the older part has the same name with .1."""
        return str(self._directory / f"{application_id}.log")

    def files_of(self, application_id: str) -> list[str]:
        """All of these."""
        fifo, log = self.output_of(application_id)
        return [fifo, log, f"{log}.1", self.health_of(application_id)]


def mark_of(application: Application) -> bytes:
    """A variable in the environment of everything that an application starts."""
    return MARK + application.id.encode()


def socket_mark_of(places: Places) -> bytes:
    """A variable in the environment of all applications of this node, and of no other node."""
    return b"RONDO_SOCKET=" + os.fsencode(places.endpoint)


def spec_of(application: Application, places: Places) -> dict[str, Any]:
    """For SPAWN."""
    command = application.command
    environment = [
        *_without_ours(command.environment),
        mark_of(application),
        b"RONDO_SAM_INSTANCE=%d" % application.instance,
        b"RONDO_SAM_HEALTH=%d" % HEALTH_DESCRIPTOR,
        socket_mark_of(places),
    ]
    return {
        **_common(application, places),
        "program": command.program,
        "arguments": command.arguments,
        "environment": environment,
        "health": places.health_of(application.id),
        "mark": mark_of(application),
    }


def check_spec(application: Application, places: Places) -> dict[str, Any]:
    """For SPAWN of a check: its environment names the application."""
    environment = [
        *_without_ours(application.command.environment),
        b"RONDO_SAM_CHECK=" + application.id.encode(),
        b"RONDO_SAM_PID=%d" % application.pid,
        b"RONDO_SAM_INSTANCE=%d" % application.instance,
        socket_mark_of(places),
    ]
    return {
        **_common(application, places),
        "program": application.check,
        "arguments": [application.check],
        "environment": environment,
        "health": "",
        "mark": b"",
    }


def _common(application: Application, places: Places) -> dict[str, Any]:
    fifo, log = places.output_of(application.id)
    uid, gid, groups = application.owner
    return {
        "directory": application.command.directory,
        "umask": application.command.umask,
        "uid": uid,
        "gid": gid,
        # Without root there is nothing to switch: they were checked to be SAM's own.
        "groups": list(groups) if places.is_root else None,
        "output": fifo,
        "output_key": application.id,
        "log": log,
    }


def _without_ours(environment: list[bytes]) -> list[bytes]:
    return [each for each in environment if b"=" in each and not each.startswith(OURS)]
