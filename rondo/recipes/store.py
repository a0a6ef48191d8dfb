"""`Store`: the application's choice to keep a state on disk. `Directory`: the files. All faults raise `StoreError`.

A store is a directory with one state. G counts its generations:

    lock              held by the process that uses the store
    identity          the seat of this disk, the number of its starts, and the latest round (`core/history.py`)
    snapshot.G        the state at some place of its history
    log.G             the entries after that place

A snapshot is written as `snapshot.G.part` while `log.G` already continues `log.(G-1)`. Once the snapshot is complete
the older files are removed. All files consist of frames (`frames.py`), which tell an incomplete end from damage.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

from rondo import InvalidParameter
from rondo.recipes.errors import StoreError
from rondo.recipes.frames import FrameReader, FrameWriter

COMPACT_BYTES = 64 * 1024 * 1024
IDENTITY = "rondo-recipes-identity"
LOG = "rondo-recipes-log"
SNAPSHOT = "rondo-recipes-snapshot"
FORMAT = 1
SEAT_BYTES = 12
LIFE_BYTES = 4
MEND = (
    "To mend it, put the file back as it was; or move the directory away and start this process again: it gets the "
    "state from the others, of whom most must have theirs"
)
log = logging.getLogger("rondo.recipes")


@dataclass(frozen=True)
class Store:
    """Keep the state in a directory, which is created if necessary. All processes of a group have a store, or none has.

    `fsync`: acknowledged commands are forced to so many disks that they survive the loss of power of all nodes.
    Without it they survive the end of all processes. `compact_bytes`: the state is written anew when the log is larger
    than this and larger than the last snapshot. `abandon`: go on without missing disks, which may have a later state,
    10 s after all their nodes are present. It is for disks that are lost, and must be given to all processes.
    """

    directory: str | os.PathLike[str]
    fsync: bool = True
    compact_bytes: int = COMPACT_BYTES
    abandon: bool = False

    def __post_init__(self) -> None:
        """Check the fields. Raises InvalidParameter."""
        directory = self.directory
        if not isinstance(directory, str | os.PathLike) or not os.fspath(directory) or "\0" in os.fspath(directory):
            raise InvalidParameter(f"directory: the path of one; not {directory!r:.80}")
        for name in ("fsync", "abandon"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidParameter(f"{name}: True or False; not {getattr(self, name)!r:.80}")
        if type(self.compact_bytes) is not int or self.compact_bytes < 1:
            raise InvalidParameter(f"compact_bytes: a number of bytes from 1 on; not {self.compact_bytes!r:.80}")


@dataclass
class Found:
    """The files that a directory has."""

    snapshot: FrameReader | None = None
    """Open behind its first frame: header, sessions and pieces follow."""
    logs: list[FrameReader] = field(default_factory=list)


class Directory:
    """A store that this process has opened and locked."""

    def __init__(self, store: Store, group: str) -> None:
        """Open and lock the directory. Raises StoreError."""
        self.path = Path(store.directory)
        self.group = group
        self.fsync = store.fsync
        self.log_bytes = 0
        self.snapshot_bytes = 0
        self._generation = 0
        self._log: FrameWriter | None = None
        self._part: FrameWriter | None = None
        self._pieces = 0
        self._seat = b""
        self._life = 0
        self.round = 0
        """This disk takes part in no earlier round than this."""
        with self._told("open it"):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._lock()
            self.author = self._identify()
        except BaseException:
            self.close()
            raise

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            mend = "make it readable and writable for this process"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                mend = "make room there"
            raise StoreError(
                f"{self.path}: cannot {what}: {error.strerror}. This process has left the group. To mend it, {mend} "
                "and start it again: it gets from the others what it has missed"
            ) from error

    def _lock(self) -> None:
        with self._told("lock it"):
            self._lock_fd = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=self._fd)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"{self.path}: another process has this store. Give each process a directory of its own"
            ) from None

    def _identify(self) -> bytes:
        """The author of this start: the seat in `identity`, and the number of the start."""
        path = self.path / "identity"
        with self._told("read identity"):
            there = [name for name in os.listdir(self._fd) if name != "lock"]
            if "identity" not in there and any(name.startswith(("log.", "snapshot.")) for name in there):
                raise StoreError(f"{path}: it is not there, and there are logs or snapshots. {MEND}")
            if "identity" in there:
                with FrameReader(path) as reader:
                    fields = msgpack.unpackb(reader.whole(MEND), use_list=False)
                self._seat, self._life, self.round, group = self._fields(path, fields, IDENTITY)
                if group != self.group:
                    raise StoreError(f"{path}: this is the store of {group!r}, not of {self.group!r}")
            else:
                self._seat = os.urandom(SEAT_BYTES)
                log.warning(
                    "%s: %s: this store is empty. It is right at the first start; if it is not the first, the "
                    "directory was moved, or its disk is not mounted", self.group, self.path
                )  # fmt: skip
        self._life += 1
        self.write_round(self.round)
        return self._seat + self._life.to_bytes(LIFE_BYTES, "big")

    def write_round(self, number: int) -> None:
        """Record that this disk takes part in no earlier round than this. Raises StoreError."""
        with self._told("write identity"):
            with FrameWriter(self.path / "identity.new") as writer:
                writer.add(msgpack.packb([IDENTITY, FORMAT, self._seat, self._life, number, self.group]))
                writer.flush(fsync=self.fsync)
            (self.path / "identity.new").replace(self.path / "identity")
            self._sync_directory()
        self.round = number

    def _fields(self, path: Path, fields: Any, magic: str) -> list[Any]:
        if not isinstance(fields, tuple) or fields[:1] != (magic,):
            raise StoreError(f"{path}: this is no file of a store. {MEND}")
        if fields[1] != FORMAT:
            raise StoreError(f"{path}: its format is {fields[1]}, and this version of rondo knows {FORMAT}")
        return list(fields[2:])

    # -- reading -------------------------------------------------------------------------------------------------

    def find(self) -> Found:
        """Find the newest complete snapshot and the logs after it. Raises StoreError."""
        with self._told("read it"):
            names = os.listdir(self._fd)
            snapshots = self._numbers(names, "snapshot")
            logs = self._numbers(names, "log")
            first = max(snapshots, default=0)
            self._generation = max([first, *logs])
            found = Found()
            if snapshots:
                found.snapshot = FrameReader(self.path / f"snapshot.{first}")
                self._fields(found.snapshot.path, self._unpack(found.snapshot), SNAPSHOT)
                self.snapshot_bytes = found.snapshot.size
            for number in range(first, self._generation + 1) if snapshots or logs else ():
                if number not in logs:
                    raise StoreError(f"{self.path / f'log.{number}'}: it is not there. {MEND}")
                found.logs.append(FrameReader(self.path / f"log.{number}"))
            for name in names:
                number_of = name.partition(".")[2]
                if name.endswith(".part") or (number_of.isdigit() and int(number_of) < first):
                    os.unlink(name, dir_fd=self._fd)  # left by a process that ended before it could remove it
            return found

    @staticmethod
    def _numbers(names: list[str], kind: str) -> set[int]:
        found = (name.partition(".") for name in names)
        return {int(number) for what, _, number in found if what == kind and number.isdigit()}

    def _unpack(self, reader: FrameReader) -> Any:
        payload = reader.next(MEND)
        return msgpack.unpackb(payload, use_list=False) if payload is not None else None

    def base_of(self, reader: FrameReader) -> tuple[Any, bool] | None:
        """The fingerprint that a log continues, and True if that state was adopted from another member.

        None if its first frame is incomplete. Raises StoreError.
        """
        payload = reader.next(MEND)
        if payload is None:
            return None
        fields = self._fields(reader.path, msgpack.unpackb(payload, use_list=False), LOG)
        return fields[0], fields[1]

    def pieces_of(self, snapshot: FrameReader) -> Iterator[bytes]:
        """The remaining pieces of a snapshot. Raises StoreError if its end is missing."""
        held: bytes | None = None
        pieces = 0
        while (payload := snapshot.next(MEND)) is not None:
            if held is not None:
                pieces += 1
                yield held
            held = payload
        if held is None or held != msgpack.packb(["end", pieces]):
            raise StoreError(f"{snapshot.path}: its end is missing. {MEND}")

    def forget_from(self, reader: FrameReader) -> None:
        """Remove this log and those after it: their snapshot was never complete here."""
        first = int(reader.path.suffix[1:])
        with self._told("remove a log"):
            for number in range(first, self._generation + 1):
                os.unlink(f"log.{number}", dir_fd=self._fd)
        self._generation = first - 1

    # -- writing -------------------------------------------------------------------------------------------------

    def go_on(self, reader: FrameReader | None, base: Any) -> None:
        """Continue the last log behind the last whole frame, or begin the first log."""
        with self._told("write its log"):
            if reader is None:
                self._begin_log(base, is_adopted=False)
                return
            if reader.is_torn:
                log.warning(
                    "%s: %s: the last %d bytes were not written to their end, and were never acknowledged: cut off",
                    self.group, reader.path, reader.size - reader.at,
                )  # fmt: skip
            self._log = FrameWriter(reader.path, at=reader.at, number=reader.number)
            self.log_bytes = reader.at

    def _begin_log(self, base: Any, *, is_adopted: bool) -> None:
        if self._log is not None:
            self._log.flush(fsync=self.fsync)
            self._log.close()
        self._log = FrameWriter(self.path / f"log.{self._generation}")
        self._log.add(msgpack.packb([LOG, FORMAT, base, is_adopted]))
        self._log.flush(fsync=self.fsync)
        self._sync_directory()
        self.log_bytes = 0

    def append(self, record: bytes) -> None:
        """Append a record to the log. `flush` writes it."""
        assert self._log is not None
        self.log_bytes += self._log.add(record)

    def begin_snapshot(self, base: Any, header: bytes, sessions: bytes, *, is_adopted: bool) -> None:
        """Begin a snapshot, and the log of the records after it."""
        with self._told("write a snapshot"):
            self._end_part()
            self._generation += 1
            self._begin_log(base, is_adopted=is_adopted)
            self._part = FrameWriter(self.path / f"snapshot.{self._generation}.part")
            self._pieces = 0
            for payload in (msgpack.packb([SNAPSHOT, FORMAT]), header, sessions):
                self._part.add(payload)

    def piece(self, piece: bytes) -> None:
        """Add the next piece to the snapshot."""
        assert self._part is not None
        self._pieces += 1
        self._part.add(piece)

    def finish_snapshot(self) -> None:
        """Complete the snapshot, and remove the older files."""
        part = self._part
        assert part is not None
        with self._told("write a snapshot"):
            part.add(msgpack.packb(["end", self._pieces]))
            part.flush(fsync=self.fsync)
            self.snapshot_bytes = part.size
            self._part = None
            part.close()
            part.path.replace(self.path / f"snapshot.{self._generation}")
            self._sync_directory()
            self.remove_others()

    def remove_others(self) -> None:
        """Remove the files of older generations."""
        keep = {f"{kind}.{self._generation}" for kind in ("snapshot", "log")} | {"lock", "identity"}
        for name in os.listdir(self._fd):
            if name not in keep and name.startswith(("snapshot.", "log.")):
                os.unlink(name, dir_fd=self._fd)

    def flush(self) -> None:
        """Write all that was appended. Raises StoreError."""
        with self._told("write to it"):
            if self._log is not None:
                self._log.flush(fsync=self.fsync)
            if self._part is not None:
                self._part.flush(fsync=False)
        self._check_place()

    def _check_place(self) -> None:
        try:
            there, here = os.stat(self.path), os.fstat(self._fd)
            is_moved = (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)
        except FileNotFoundError:
            is_moved = True
        if is_moved or (self._log is not None and self._log.is_removed):
            raise StoreError(
                f"{self.path}: the directory, or the log in it, was moved or removed while this process wrote to it. "
                "This process has left the group. To mend it, put it back and start this process again"
            )

    def _sync_directory(self) -> None:
        if self.fsync:
            os.fsync(self._fd)

    def _end_part(self) -> None:
        if self._part is not None:
            self._part.close()
            self._part.path.unlink(missing_ok=True)
            self._part = None

    def close(self) -> None:
        """Close the files, and release the directory for other processes."""
        for writer in (self._log, self._part):
            if writer is not None:
                writer.close()
        for fd in (self._fd, getattr(self, "_lock_fd", None)):
            if fd is not None:
                os.close(fd)
