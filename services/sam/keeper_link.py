"""SAM's side of the keeper: starts it when needed, finds it after a restart of SAM, replaces it if it was killed."""

import errno
import logging
import os
import socket
import subprocess
from pathlib import Path
from typing import IO, Any, Protocol

from rondo.config.node import SamSettings
from rondo.ipc.accepting import peer_of
from rondo.node import installation
from rondo.paths import SOCKET_PATH_BYTES_MAX, PathError
from services.sam.keeper.wire import VERSION, Say, Tell, Unframer, WireError, frame
from services.sam.loop import Loop

SOCKET = "keeper.sock"
RECEIVE_BYTES = 256 * 1024
RETRY_S = 0.02
START_S_MAX = 10.0
"""A started keeper that does not answer for so long is started again."""

log = logging.getLogger("SAM")


class Listener(Protocol):
    """The receiver of the keeper's reports."""

    def on_listed(self, found: list[list[Any]]) -> None: ...

    def on_spawned(self, key: str, instance: int, pid: int, start_time: int) -> None: ...

    def on_ended(self, key: str, instance: int, ending: list[Any]) -> None: ...

    def on_dropped(self, uid: int, count: int) -> None: ...

    def on_keeper_lost(self) -> None: ...


class KeeperLink:
    """While there is no keeper, SAM's messages are dropped; SAM repeats them after LISTED."""

    def __init__(self, run_dir: Path, loop: Loop, settings: SamSettings) -> None:
        """Raises PathError."""
        self._limit = [settings.output_bytes_per_user_max, settings.output_bytes_max]
        self._path = run_dir / SOCKET
        if len(os.fsencode(self._path)) > SOCKET_PATH_BYTES_MAX:
            raise PathError(f"{self._path}: a socket's path has at most {SOCKET_PATH_BYTES_MAX} bytes")
        self._run_dir = run_dir
        self._loop = loop
        self.listener: Listener
        self.is_wanted = False
        """True if an application exists, or may exist."""
        self.is_ready = False
        """True once the keeper has sent its list."""
        self.pid = 0
        self.starts = 0
        self._socket: socket.socket | None = None
        self._unframer = Unframer()
        self._outbox = bytearray()
        self._started: list[subprocess.Popen[bytes]] = []
        self._start_again_at_s = 0.0

    def tend(self, now_s: float) -> None:
        """Connect or start a keeper, if one is wanted and missing. Call it often."""
        self._started = [each for each in self._started if each.poll() is None]
        if self._socket is None and self.is_wanted and not self.connect() and now_s >= self._start_again_at_s:
            self._start_again_at_s = now_s + START_S_MAX
            self._start()
        self.flush()

    @property
    def has_work(self) -> bool:
        """True if `tend` should be called soon."""
        return bool(self._outbox) or (self.is_wanted and not self.is_ready)

    def connect(self) -> bool:
        """Connect to the running keeper, if there is one."""
        connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connecting.settimeout(0.0)
            connecting.connect(str(self._path))
            _, uid, _ = peer_of(connecting)
            if uid not in (0, os.geteuid()):
                raise PermissionError(errno.EPERM, f"belongs to user {uid}")
        except OSError:
            connecting.close()
            return False
        self._socket = connecting
        self.pid = peer_of(connecting)[0]
        self._unframer = Unframer()
        self._outbox.clear()
        self._loop.watch(connecting.fileno(), self._receive)
        self.is_wanted = True
        self._outbox += frame([Say.LIMIT, *self._limit]) + frame([Say.LIST])
        return True

    def _start(self) -> None:
        """The keeper runs in a session of its own, so that it outlives SAM. If it ends first, SAM reaps it."""
        self.starts += 1
        try:
            with self._open_errors() as errors:
                self._started.append(
                    subprocess.Popen(
                        [*installation.command("services.sam.keeper"), str(self._run_dir)],
                        stdin=subprocess.DEVNULL,
                        stdout=errors,
                        stderr=errors,
                        cwd="/",
                        umask=0o077,
                        start_new_session=True,
                    )
                )
        except OSError as error:
            log.error("The keeper cannot be started: %s; it is tried again", error.strerror)

    def _open_errors(self) -> IO[bytes]:
        """The file for the keeper's error messages; /dev/null if the run directory is full. Raises OSError."""
        directory = self._run_dir / "log"
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            return (directory / "keeper.log").open("ab")
        except OSError:
            return open(os.devnull, "ab")

    def say(self, message: list[Any]) -> None:
        """Send a message. It is dropped if there is no keeper, or if the keeper has not sent its list yet."""
        if self.is_ready:
            self._outbox += frame(message)

    def flush(self) -> None:
        """Send what waits, as far as there is room."""
        if self._socket is not None and self._outbox:
            try:
                sent = self._socket.send(self._outbox)
                del self._outbox[:sent]
            except BlockingIOError:
                pass
            except OSError:
                self._lose()

    def _receive(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(RECEIVE_BYTES)
            messages = self._unframer.feed(data)
        except BlockingIOError:
            return
        except (OSError, WireError) as error:
            log.error("What came from the keeper cannot be understood: %s", error)
            data, messages = b"", []
        for message in messages:
            self._hand_on(message)
        if not data:
            self._lose()

    def _hand_on(self, message: list[Any]) -> None:
        match message:
            case [Tell.SPAWNED, key, instance, pid, start_time]:
                self.listener.on_spawned(key, instance, pid, start_time)
            case [Tell.ENDED, key, instance, ending]:
                self.listener.on_ended(key, instance, ending)
            case [Tell.DROPPED, uid, count]:
                self.listener.on_dropped(uid, count)
            case [Tell.LISTED, version, found]:
                if version != VERSION:
                    log.error(
                        "The keeper (process %d) is of another version of Rondo; `rondo stop` and `rondo start` end it "
                        "together with its applications", self.pid,
                    )  # fmt: skip
                self.is_ready = True
                self.listener.on_listed(found)

    def _lose(self) -> None:
        assert self._socket is not None
        self._loop.forget(self._socket.fileno())
        self._socket.close()
        self._socket = None
        self._outbox.clear()
        self._start_again_at_s = 0.0
        was_ready, self.is_ready, self.pid = self.is_ready, False, 0
        if was_ready:
            self.listener.on_keeper_lost()

    def close(self) -> None:
        """Close the connection; the keeper goes on."""
        if self._socket is not None:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None
