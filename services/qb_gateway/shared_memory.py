"""The files of one connection: a directory in /dev/shm with three rings of two files each.

Names are chosen and kept here. Paths and sizes that a client writes into a header are never read.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import secrets
import struct
from collections.abc import Iterable
from pathlib import Path

from services.qb_gateway.libc import SharedSemaphore
from services.qb_gateway.rings import layout
from services.qb_gateway.rings.reader import Reader
from services.qb_gateway.rings.writer import Writer
from services.qb_gateway.truncation import TruncationGuard
from services.qb_gateway.wire.messages import REQUEST_HEADER_BYTES

PLACE = Path("/dev/shm")
RINGS = ("request", "response", "event")
_FILE_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
DIRECTORY_MODE = 0o711
"""Other users may pass through it to the files that they may open. They may not change its entries."""
FILE_MODE = 0o600

_ACL = struct.Struct("<I")
_ACL_ENTRY = struct.Struct("<HHI")
_NOBODY = 0xFFFF_FFFF
_READ_WRITE = 6


def prefix_of(run_dir: Path) -> str:
    """The prefix of the names of a node's directories. The node holds the lock of its run directory, so a directory
    with this prefix at the start of the gateway was left by a killed predecessor."""
    found = run_dir.stat()
    return f"rondo-qb-{found.st_dev:x}-{found.st_ino:x}-"


def sweep(prefix: str) -> int:
    """Remove what a killed predecessor left. Returns how many connections it had."""
    removed = 0
    for entry in PLACE.glob(f"{prefix}*"):
        try:
            directory = os.open(entry, _DIRECTORY_FLAGS)
        except OSError:
            continue
        try:
            if os.fstat(directory).st_uid == os.geteuid():
                _remove(directory, entry, os.listdir(directory))
                removed += 1
        finally:
            os.close(directory)
    return removed


def _remove(directory: int, path: Path, names: Iterable[str]) -> None:
    for name in names:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=directory)
    with contextlib.suppress(OSError):
        path.rmdir()


class _File:
    """One file, mapped during the life of the connection."""

    def __init__(self, guard: TruncationGuard, descriptor: int, size: int) -> None:
        os.posix_fallocate(descriptor, 0, size)
        self._guard = guard
        self._map = mmap.mmap(descriptor, size)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.view = memoryview(self._map)
        guard.watch(self.address, size)

    def close(self) -> None:
        self.view.release()
        self._guard.forget(self.address)
        self._map.close()


class ConnectionMemory:
    """The rings of one connection. Raises OSError if they cannot be made, and removes all their files then."""

    def __init__(
        self, guard: TruncationGuard, prefix: str, service: str, message_bytes_max: int, owner: tuple[int, int]
    ) -> None:
        """`owner`: user and group of the client."""
        self._guard = guard
        self._files: dict[str, _File] = {}
        self._views: list[memoryview[int]] = []
        self._uid, self._gid = owner
        self._path = PLACE / f"{prefix}{secrets.token_hex(8)}"
        os.mkdir(self._path, 0o700)
        try:
            self._directory = os.open(self._path, _DIRECTORY_FLAGS)
        except OSError:
            self._path.rmdir()
            raise
        self._names: list[str] = []
        """Of its files. A directory cannot be listed when there are no more descriptors."""
        self.paths = {ring: str(self._path / f"qb-{ring}-{service}") for ring in RINGS}
        """By ring: its path, without `-header` and `-data`."""
        try:
            os.fchmod(self._directory, DIRECTORY_MODE)
            rings = {ring: self._make_ring(ring, service, message_bytes_max) for ring in RINGS}
        except BaseException:
            self._release()
            raise
        self.requests = Reader(*rings["request"], REQUEST_HEADER_BYTES, message_bytes_max)
        self.responses = Writer(*rings["response"])
        self.events = Writer(*rings["event"])
        self._flow = self._header("request")

    def _make_ring(
        self, ring: str, service: str, message_bytes_max: int
    ) -> tuple[memoryview[int], memoryview[int], SharedSemaphore]:
        header_bytes = layout.REQUEST_HEADER_BYTES if ring == "request" else layout.HEADER_BYTES
        size = layout.data_bytes(message_bytes_max, mmap.PAGESIZE)
        data = self._make_file(f"qb-{ring}-{service}-data", f"{ring}-data", size)
        header = self._make_file(f"qb-{ring}-{service}-header", f"{ring}-header", header_bytes)
        path = self.paths[ring]
        header.view[:header_bytes] = layout.first_header(header_bytes, size // 4, f"{path}-header", f"{path}-data")
        semaphore = SharedSemaphore(header.address + layout.SEMAPHORE_OFFSET)
        return self._header(ring), data.view[:size], semaphore

    def _header(self, ring: str) -> memoryview[int]:
        view = self._files[f"{ring}-header"].view
        words = view[: len(view) // 4 * 4].cast("I")
        self._views.append(words)
        return words

    def _make_file(self, name: str, key: str, size: int) -> _File:
        descriptor = os.open(name, _FILE_FLAGS, FILE_MODE, dir_fd=self._directory)
        self._names.append(name)
        try:
            self._let_in(descriptor)
            made = self._files[key] = _File(self._guard, descriptor, size)
        finally:
            os.close(descriptor)
        return made

    def _let_in(self, descriptor: int) -> None:
        """Let the client open this file, but no other user except root."""
        if self._uid in (0, os.geteuid()):
            return
        if os.geteuid() == 0:
            os.fchown(descriptor, self._uid, self._gid)
            return
        entries = ((1, _READ_WRITE, _NOBODY), (2, _READ_WRITE, self._uid), (4, 0, _NOBODY), (16, _READ_WRITE, _NOBODY),
                   (32, 0, _NOBODY))  # fmt: skip
        acl = _ACL.pack(2) + b"".join(_ACL_ENTRY.pack(*entry) for entry in entries)
        os.setxattr(descriptor, "system.posix_acl_access", acl)

    def set_flow_control(self, value: int) -> None:
        """Set whether the client may multicast (`rings.layout`)."""
        self._flow[layout.FLOW_CONTROL_AT] = value

    @property
    def is_whole(self) -> bool:
        """True unless a file was found truncated."""
        return not self._guard.hit or self._guard.hit.isdisjoint(file.address for file in self._files.values())

    def close(self) -> None:
        """Unmap and remove everything."""
        self.requests.release()
        self.responses.release()
        self.events.release()
        self._release()

    def _release(self) -> None:
        for view in self._views:
            view.release()
        for file in self._files.values():
            file.close()
        _remove(self._directory, self._path, self._names)
        os.close(self._directory)


def errno_for_client(error: OSError) -> int:
    """The errno for a client whose rings cannot be made. It may try again once there is room."""
    return errno.EMFILE if error.errno in (errno.EMFILE, errno.ENFILE) else errno.ENOMEM
