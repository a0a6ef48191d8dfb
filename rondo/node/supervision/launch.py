"""Start a node: take its locks, remove the leftovers of a killed one, start supervisord, and see the node serve
clients.

A start succeeds or leaves nothing behind: if the node does not come up, everything that was started is stopped.
"""

import contextlib
import errno
import importlib.resources
import json
import os
import resource
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import rondo
from rondo import paths
from rondo.cli.output import CommandError
from rondo.config import NodeConfig, key
from rondo.node import c_sockets, installation
from rondo.node.supervision import (
    BESIDE,
    C_PROGRAMS,
    OPTIONAL,
    RESOLVED_CONFIGURATION,
    SERVICES,
    SUPERVISOR_SOCKET,
    locks,
    optional,
    processes,
    record,
    survey,
)
from rondo.node.supervision.halt import Halted, halt, halt_orphans
from rondo.node.supervision.logfiles import last_words

READY_SECONDS = 30.0
POLL_SECONDS = 0.1
CONNECT_SECONDS = 1.0
"""At this interval it is checked whether the node has stopped meanwhile."""
UNIX_PID_DIGITS = 7
FILES_MIN, PROCESSES_MIN = 256, 16
"""minfds and minprocs of supervisord.conf."""
MERGES_SEEN = 3
"""After this many merge intervals the node has met any other ring that exists."""
LOG_DIRECTORY = "log"
ROOM_BYTES = 32 * 1024
SUPERVISOR_ERRORS = "supervisord.err"


@dataclass(slots=True)
class Launched:
    """A node that was started, and may not be up yet."""

    config: NodeConfig
    run_dir: Path
    supervisor: "subprocess.Popen[bytes]"
    orphans: list[str]
    """Services of a killed supervisord that were stopped first."""
    off: dict[str, str]
    """Services that were not started, and the reasons."""


def make_run_dir(option: paths.AnyPath | None) -> Path:
    """The run directory of a node that is to be started. Raises PathError, also for a path that is too long for the
    socket names in it; no directory was made then."""
    _check_for_supervisord(paths.run_dir(option))
    _check_socket_paths(paths.run_dir(option))
    return paths.make_run_dir(option)


def launch(config: NodeConfig, run_dir: Path, state_dir: Path, sockets: Sequence[socket.socket] = ()) -> Launched:
    """Start supervisord, which starts the services. Does not wait for them. Raises CommandError.

    `sockets`: those of C programs, which root has made for this node (rondo.node.c_sockets). They are closed here.
    """
    _check_socket_paths(run_dir)
    held = [locks.take(run_dir, "--run-dir")]
    try:
        held.append(locks.take(state_dir, "--state-dir"))
        _check_room(run_dir, "--run-dir")
        _check_room(state_dir, "--state-dir")
        halted = Halted()
        halt_orphans(run_dir, halted, keep_applications=True)
        off = optional.off(config, has_c_sockets=bool(sockets))
        _prepare(config, run_dir, off)
        handed = [] if C_PROGRAMS in off else [each.fileno() for each in sockets]
        try:
            supervisor = _start_supervisord(run_dir, state_dir, held, off, config.service_timeout_ms, handed)
            for descriptor in held:
                locks.write_holder(descriptor, supervisor.pid)
        except BaseException:  # an interrupt, too, leaves nothing behind
            halt(run_dir)
            raise
    finally:
        for descriptor in held:
            os.close(descriptor)
        for each in sockets:
            each.close()
    return Launched(config, run_dir, supervisor, halted.orphans, off)


def wait_until_ready(node: Launched, told: Callable[[str], None] = lambda _: None) -> None:
    """Return once the node is in a ring and serves clients. Otherwise stop it and raise CommandError with the reason.

    `told`: called with what the start still waits for.
    """
    deadline = time.monotonic() + ready_seconds(node.config)
    try:
        while missing := _missing(node.run_dir, node.off):
            _refuse_if_stopped(node)
            told(f"waiting: {missing}")
            if time.monotonic() > deadline:
                raise CommandError(f"the node did not come up in {ready_seconds(node.config):g} s: {missing}")
            time.sleep(POLL_SECONDS)
        told("waiting: no client has connected yet")
        _connect_once(node, max(1.0, deadline - time.monotonic()))
        told("seeing that it stays in the ring")
        _see_it_stay(node)
    except BaseException:  # an interrupt, too, leaves nothing behind
        halt(node.run_dir)
        node.supervisor.wait()
        raise


def _see_it_stay(node: Launched) -> None:
    """A node that is alone may meet others with a newer configuration within moments, and stops then."""
    config = node.config
    until = time.monotonic()
    totem = survey.ask_one(node.run_dir, "totem") or {}
    if config.config_version and len(totem.get("members", [])) < len(config.members):
        until += MERGES_SEEN * config.merge_timeout_ms / 1000
    while True:
        _refuse_if_stopped(node)
        if time.monotonic() > until:
            return
        time.sleep(POLL_SECONDS)


def _refuse_if_stopped(node: Launched) -> None:
    """Raises CommandError with the reason if the node has stopped, or is about to."""
    if node.supervisor.poll() is not None or record.read(node.run_dir).failure:
        raise CommandError(f"the node has stopped: {_why_stopped(node.run_dir)}")


def ready_seconds(config: NodeConfig) -> float:
    """How long a node may take to come up: two attempts to form a ring, and at least 30 s."""
    return max(READY_SECONDS, 2 * (config.token_timeout_ms + config.consensus_timeout_ms) / 1000 + 10)


def _check_for_supervisord(run_dir: Path) -> None:
    """Check what supervisord would refuse with unhelpful messages. Raises PathError, CommandError."""
    if odd := next((c for c in str(run_dir) if c == "%" or not c.isprintable()), ""):
        raise paths.PathError(f"{run_dir}: supervisord does not accept {odd!r} in a path; choose another run directory")
    for kind, least, what, option in (
        (resource.RLIMIT_NOFILE, FILES_MIN, "open files", "ulimit -n, or LimitNOFILE= of systemd"),
        (resource.RLIMIT_NPROC, PROCESSES_MIN, "processes", "ulimit -u, or LimitNPROC= of systemd"),
    ):
        most = resource.getrlimit(kind)[1]
        if most != resource.RLIM_INFINITY and most < least:
            raise CommandError(f"this user may have {most} {what} and a node needs {least}; raise the limit ({option})")


def _check_socket_paths(run_dir: Path) -> None:
    # supervisord binds its socket under a name with its pid appended, and renames it.
    for name in (*(f"{service}.ctl" for service in SERVICES), f"{SUPERVISOR_SOCKET}.{'9' * UNIX_PID_DIGITS}"):
        paths.socket_endpoint(run_dir, name)


def _check_room(directory: Path, option: str) -> None:
    """Check that the first files of the node have room. A running node copes with a full disk. Raises CommandError."""
    probe = directory / f".room.{os.getpid()}"
    try:
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.write(descriptor, bytes(ROOM_BYTES)) < ROOM_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise CommandError(
            f"{directory}: {error.strerror}; make room there, or choose another directory with {option}"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def _prepare(config: NodeConfig, run_dir: Path, off: Iterable[str]) -> None:
    """Prepare what the services need: key, log directory, resolved configuration."""
    security = config.security
    if security.enabled and security.key_created_if_missing and not os.path.lexists(security.key_file):
        key.write_key(Path(security.key_file))
    (run_dir / LOG_DIRECTORY).mkdir(mode=0o700, exist_ok=True)
    for name in off:  # a client that finds the socket of a service waits for that service
        (run_dir / f"{name}.ctl").unlink(missing_ok=True)
    record.forget(run_dir)
    config.save(run_dir / RESOLVED_CONFIGURATION)


def _start_supervisord(
    run_dir: Path, state_dir: Path, held: list[int], off: dict[str, str], timeout_ms: int, handed: list[int]
) -> "subprocess.Popen[bytes]":
    """It runs in a session of its own. A Ctrl-C at the terminal reaches only the command, which stops the node in
    order."""
    resolved = run_dir / RESOLVED_CONFIGURATION
    environment = os.environ | {
        processes.MARK: processes.mark(run_dir),
        "RONDO_RUN_DIR": str(run_dir),
        "RONDO_STATE_DIR": str(state_dir),
        "RONDO_UID": str(os.geteuid()),
        "RONDO_SERVICE_TIMEOUT_MS": str(timeout_ms),
        **{f"RONDO_START_{name.upper()}": "false" if name in off else "true" for name in OPTIONAL},
        "RONDO_OFF": json.dumps(off),
        "RONDO_LOCKS": ",".join(map(str, held)),
        **c_sockets.offer(handed),
        "RONDO_SERVICE": shlex.join(installation.command("services")),
        "RONDO_SERVICE_ARGUMENTS": shlex.join(["--heartbeat", "--resolved", str(resolved), "--run-dir", str(run_dir)]),
    }
    configuration = importlib.resources.files("rondo.node.supervision") / "supervisord.conf"
    with _new_file(run_dir / LOG_DIRECTORY / SUPERVISOR_ERRORS) as errors:
        return subprocess.Popen(
            [*installation.command("rondo.node.supervision.supervisord"), "-c", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            cwd="/",
            env=environment,
            umask=0o077,
            start_new_session=True,
            pass_fds=[*held, *handed],
        )


def _new_file(path: Path) -> BinaryIO:
    """An empty file to write; its owner's alone, whatever the umask."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")


def _missing(run_dir: Path, off: dict[str, str]) -> str:
    """What keeps the node from being up, in one line; empty if nothing does."""
    answers = survey.ask_all(run_dir, timeout=0.5)
    for name, answer in answers.items():
        if answer is None and name not in off and name not in BESIDE:
            words = last_words(run_dir / LOG_DIRECTORY / f"{name}.log", name)
            return f"{name} does not answer" + (f", its last words: {words}" if words else "")
    totem = answers["totem"] or {}
    if why := totem.get("why_isolated"):
        return f"totem is not on the network: {why}"
    if not survey.is_in_ring(totem):
        return f"totem has formed no ring yet (state {totem.get('state')}); see `rondo logs totem`"
    return ""


def _connect_once(node: Launched, timeout: float) -> None:
    """Connect as a client: the proof that the node serves. Raises CommandError."""
    endpoint, until = paths.socket_endpoint(node.run_dir, "gateway.sock"), time.monotonic() + timeout
    while True:
        try:
            rondo.connect(endpoint, timeout=CONNECT_SECONDS).close()
            return
        except rondo.Error as error:
            _refuse_if_stopped(node)
            if time.monotonic() > until:
                raise CommandError(f"the node does not serve clients: {error}") from None


def _why_stopped(run_dir: Path) -> str:
    noted = record.read(run_dir).failure
    words = last_words(run_dir / LOG_DIRECTORY / SUPERVISOR_ERRORS)
    return noted or words or f"supervisord has ended; see {run_dir / LOG_DIRECTORY / 'supervisord.log'}"
