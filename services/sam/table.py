"""The table of applications in the state directory, from which a restarted SAM continues.

Three files for each application: `sam/ID.command` with the command and its environment, which never changes;
`sam/ID.app` with everything else, and `sam/ID.data` with its stored data. Each is replaced as a whole. They are not
synchronised to the disk: they have to survive SAM, not the machine, and a slow disk must not keep SAM from reading
health messages. After a crash of the machine a file is the old one or the new one.
"""

import contextlib
import logging
import os
import re
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import msgpack

from services.sam.application import Application, Command, End, Owner, Phase, Policy, State

FORMAT = 2
FILE_BYTES_MAX = 16 * 1024 * 1024
DIRECTORY = "sam"
SUFFIXES = ("app", "command", "data")
COMPLAINT_S = 60.0
"""How often the log reports at most that something could not be written."""
_FILE = re.compile(r"([\w.-]{1,64}-(\d{1,18}))\.app")
_TRANSIENT = frozenset(
    (
        "command",
        "verdict",
        "heard_at_s",
        "kill_at_s",
        "restart_at_s",
        "check_number",
        "check_at_s",
        "check_is_running",
        "saved_at_s",
        "command_bytes",
    )
)
_KEPT = [each.name for each in fields(Application) if each.name not in _TRANSIENT]

log = logging.getLogger("SAM")


def boot_id() -> str:
    """An identifier of this boot of the machine. Pids and start times of another boot mean nothing."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class Table:
    """The applications' files. Errors of the disk are logged and counted; SAM goes on."""

    def __init__(self, state_dir: Path) -> None:
        """Raises OSError."""
        self._directory = state_dir / DIRECTORY
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self.errors = 0
        self._number = 0
        self._has_command: set[str] = set()
        """Applications whose command is saved."""
        self._complain_at_s = 0.0

    def new_id(self, name: str) -> str:
        """An identifier that no application in this table had before."""
        self._number += 1
        with self._guarded("number"):
            self._replace(self._directory / "number", str(self._number).encode())
        return f"{name}-{self._number}"

    def save(self, application: Application) -> None:
        """Save an application."""
        values = {name: getattr(application, name) for name in _KEPT}
        values["history"] = [asdict(end) for end in application.history]
        packed = msgpack.packb({"format": FORMAT, "application": values})
        with self._guarded(application.id):
            if application.id not in self._has_command:
                self._replace(self._path(application.id, "command"), msgpack.packb(asdict(application.command)))
                self._has_command.add(application.id)
            self._replace(self._path(application.id, "app"), packed)

    def _path(self, application_id: str, suffix: str) -> Path:
        return self._directory / f"{application_id}.{suffix}"

    def load(self) -> list[Application]:
        """All applications. One that cannot be read is left out and logged."""
        applications = []
        with contextlib.suppress(OSError, ValueError):
            self._number = int((self._directory / "number").read_text())
        for path in sorted(self._directory.iterdir()):
            if (found := _FILE.fullmatch(path.name)) is None:
                continue
            self._number = max(self._number, int(found[2]))
            try:
                command = path.with_suffix(".command").read_bytes()
                applications.append(_restored(*(msgpack.unpackb(each) for each in (path.read_bytes(), command))))
                self._has_command.add(applications[-1].id)
            except (OSError, ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException) as error:
                self.errors += 1
                log.error("%s cannot be read and is left out: %s", path, error or type(error).__name__)
        return applications

    def remove(self, application_id: str) -> None:
        """Remove an application and its data."""
        self._has_command.discard(application_id)
        for suffix in SUFFIXES:
            with contextlib.suppress(OSError):
                self._path(application_id, suffix).unlink()

    def store(self, application_id: str, data: bytes) -> None:
        """Keep data for the next instance. Raises OSError, because the application must know."""
        self._replace(self._path(application_id, "data"), data)

    def restore(self, application_id: str) -> bytes:
        """The data that was stored last; empty if there is none."""
        try:
            return self._path(application_id, "data").read_bytes()
        except OSError:
            return b""

    @contextlib.contextmanager
    def _guarded(self, what: str) -> Any:
        try:
            yield
        except OSError as error:
            self.errors += 1
            if time.monotonic() >= self._complain_at_s:
                self._complain_at_s = time.monotonic() + COMPLAINT_S
                log.error(
                    "%s: %s cannot be written: %s. Applications go on, but a restarted SAM would not know all of them; "
                    "make room there, or make it writable", self._directory, what, error.strerror,
                )  # fmt: skip

    @staticmethod
    def _replace(path: Path, data: bytes) -> None:
        temporary = path.with_name(f".{path.name}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            temporary.replace(path)
        except OSError:
            # A partial file wastes space on a full disk.
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def _restored(value: Any, command: Any) -> Application:
    if value["format"] != FORMAT:
        raise ValueError("written by another version of Rondo")
    values = {name: value["application"][name] for name in _KEPT}
    uid, gid, groups = values["owner"]
    values["owner"] = Owner(uid, gid, tuple(groups))
    values["command"] = Command(**command)
    history = [End(**each) for each in values.pop("history")]
    for name, kind in (("policy", Policy), ("phase", Phase), ("state", State)):
        values[name] = kind(values[name])
    application = Application(**values)
    application.history.extend(history)
    return application
