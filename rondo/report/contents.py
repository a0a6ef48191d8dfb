"""The contents of a node's archive: its state, its configuration, its logs.

Each entry is made when it is asked for. If that fails, the entry says why.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import rondo
from rondo.metrics.collect import collect
from rondo.metrics.seen import Seen, look
from rondo.node import compiled, journal
from rondo.node.log_formats import iso_time
from rondo.node.supervision import SERVICES
from rondo.node.supervision.logfiles import MergedLog, configured_files, log_files
from rondo.report.secrets import secrets_of, without_options

FILE_BYTES_MAX = 16 * 1024 * 1024
"""Of one file; of a longer one the end counts."""
JOURNAL_LINES_MAX = 50_000
JOURNAL_S = 30.0
_PACKAGES = ("pyzmq", "msgpack", "cryptography", "pydantic", "supervisor", "prometheus-client")
_KERNEL = (
    "net/core/rmem_max", "net/core/wmem_max", "net/unix/max_dgram_qlen", "kernel/sched_rt_runtime_us",
    "kernel/sched_rt_period_us", "net/ipv4/ipfrag_high_thresh",
)  # fmt: skip

Entry = tuple[str, bytes]


def entries(run_dir: Path) -> Iterator[Entry]:
    """Names and contents, without secrets."""
    seen = look(run_dir)
    secrets = secrets_of(seen.config)
    for name, make in _makers(run_dir, seen):
        yield name, secrets.cut(_made(make))
    for name, path in _logs(run_dir):
        yield name, secrets.cut(_made(lambda path=path: end_of(path)))  # type: ignore[misc]


def _made(make: Callable[[], bytes]) -> bytes:
    try:
        return make()
    except Exception as error:
        return f"This could not be had: {error!r}\n".encode()


def _makers(run_dir: Path, seen: Seen) -> Iterator[tuple[str, Callable[[], bytes]]]:
    yield "about.json", _about
    yield "status.json", lambda: _json(seen.status)
    for name, answer in seen.answers.items():
        yield f"debug/{name}.json", lambda answer=answer: _json(answer)  # type: ignore[misc]
    if importlib.util.find_spec("prometheus_client") is not None:
        yield "metrics.prom", lambda: _metrics(seen)
    yield "doctor.json", lambda: _doctor(run_dir)
    yield "events.jsonl", lambda: _events(run_dir)
    if seen.config is not None:
        config = seen.config
        yield "config/resolved.json", lambda: _json(config.to_dict())
        if config.config_file:
            yield "config/corosync.conf", lambda: without_options(end_of(Path(config.config_file)))
        if any(each.to_syslog for each in config.logging.values()) and journal.is_there():
            yield "log/journal", _journal
    yield "supervision.json", lambda: end_of(run_dir / "supervision.json")


def _about() -> bytes:
    """The machine and the installation."""
    return _json(
        {
            "rondo": rondo.__version__,
            "time": iso_time(time.time(), milliseconds=True),
            "python": sys.version,
            "system": " ".join(platform.uname()[each] for each in (0, 2, 3, 4)),
            "processors": os.cpu_count(),
            "modules": compiled.state(),
            "packages": {name: _version(name) for name in _PACKAGES},
            "kernel": {name.replace("/", "."): _sysctl(name) for name in _KERNEL},
        }
    )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _sysctl(name: str) -> str | None:
    try:
        return (Path("/proc/sys") / name).read_text().strip()
    except OSError:
        return None


def _metrics(seen: Seen) -> bytes:
    from rondo.metrics.render import render

    return render(collect(seen))


def _doctor(run_dir: Path) -> bytes:
    from rondo.doctor.examine import examine
    from rondo.doctor.subject import subject_of

    return _json([finding.as_json() for finding in examine(subject_of(run_dir))])


def _events(run_dir: Path) -> bytes:
    from rondo.timeline.events import event_of

    log = MergedLog(log_files(run_dir), configured_files(run_dir, SERVICES))
    found = (event_of(line) for line in log.read())
    return "".join(f"{json.dumps(each.as_json())}\n" for each in found if each is not None).encode()


def _journal() -> bytes:
    """What systemd's journal has of this machine's nodes: lines may be there and nowhere else. Raises OSError,
    SubprocessError."""
    argv = ["journalctl", "--identifier=rondo", f"--lines={JOURNAL_LINES_MAX}", "--output=short-iso-precise", "--quiet"]
    done = subprocess.run([*argv, "--no-pager"], capture_output=True, timeout=JOURNAL_S, check=True)
    return done.stdout[-FILE_BYTES_MAX:]


def _logs(run_dir: Path) -> Iterator[tuple[str, Path]]:
    """The logs of the node's processes. The output of applications is never among them."""
    configured = configured_files(run_dir, SERVICES)
    for path in sorted((run_dir / "log").glob("*")):
        if path.is_file() and not path.is_symlink():
            yield f"log/{path.name}", path
    for number, name in enumerate(sorted(set(configured.values()))):
        yield f"log/configured-{number}-{Path(name).name}", Path(name)


def end_of(path: Path) -> bytes:
    """The end of a file. Raises OSError."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - FILE_BYTES_MAX))
        return file.read(FILE_BYTES_MAX)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n").encode(errors="backslashreplace")
