"""The ring sequence on stable storage: `ringid_NODE` in the state directory, a little-endian u64 as in Corosync.

A ring identifier must never repeat, over all restarts of a node. So the file always holds a number ahead of those in
use: a range is reserved, and the next one well before this one ends. A thread writes the file. A disk can take seconds,
and the token must not wait for it.

If the file is missing or damaged, the node begins with the clock: seconds since 1970 times `SEQUENCES_PER_SECOND`. No
ring gets there by counting. With a smaller factor, rings repeated identifiers in two cases: two nodes lost their files
within a second of two ring changes (a seed of the simulator); and a node was killed so often that it was ahead of the
clock (`make chaos`).
"""

from __future__ import annotations

import logging
import os
import struct
import threading
import time
from pathlib import Path

from rondo.node.durable_file import replace_durably
from rondo.node.logs import notice

RESERVE = 4096
"""How far the file is ahead: 1024 new rings, each 4 higher than the last."""

SEQUENCES_PER_SECOND = 1 << 16
"""Growth per second of the clock's sequences: 16,384 rings, each 4 higher than the last, or 16 times what a start
reserves."""

SEQUENCE_MAX = 1 << 62
"""No honest sequence is above this."""

RETRY_SECONDS = 1.0

_U64 = struct.Struct("<Q")
_log = logging.getLogger("TOTEM")


class SequenceFile:
    """Keeps `sequence` and everything up to it from being used again. `store` never waits."""

    def __init__(self, state_dir: Path, node_id: int) -> None:
        self.path = state_dir / f"ringid_{node_id}"
        self.first = _read(self.path)
        """The ring's first sequence. The range after it is reserved by the constructor. If that cannot be stored (a
        full disk), the clock is used, as for a missing file."""
        self._reserved = self.first + RESERVE
        self._written = 0
        self._wake = threading.Condition()
        self._closing = False
        self._failing = False
        """The last attempt to write failed, and was logged."""
        try:
            self._write(self._reserved)
        except OSError as error:
            self._complain(error)
            self.first = max(self.first, _from_the_clock())
            self._reserved = self.first + RESERVE
        self._worker = threading.Thread(target=self._run, name="ring-sequence", daemon=True)
        self._worker.start()

    def store(self, sequence: int) -> None:
        """`sequence` is in use from now on. If less than half a range is left, more is reserved."""
        if sequence + RESERVE // 2 > self._reserved:
            with self._wake:
                self._reserved = sequence + RESERVE
                self._wake.notify()

    def close(self) -> None:
        """Write what is unwritten, if the disk does so within a second."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._worker.join(RETRY_SECONDS)

    def _run(self) -> None:
        while True:
            with self._wake:
                while self._written == self._reserved and not self._closing:
                    self._wake.wait()
                wanted = self._reserved
            if self._written == wanted:
                return
            try:
                self._write(wanted)
                if self._failing:
                    self._failing = False
                    notice(_log, "The ring sequence is stored in %s again", self.path)
            except OSError as error:
                self._complain(error)
                with self._wake:
                    if self._closing:
                        return
                    self._wake.wait(RETRY_SECONDS)

    def _complain(self, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            _log.error(
                "The ring sequence cannot be stored in %s: %s; it is tried again; make room, or set system.state_dir",
                self.path, error.strerror,
            )  # fmt: skip

    def _write(self, sequence: int) -> None:
        replace_durably(self.path, _U64.pack(sequence))
        self._written = sequence


def _read(path: Path) -> int:
    try:
        # O_NONBLOCK: a named pipe in its place must not hang the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            content = os.read(descriptor, _U64.size + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        _log.info("No ring sequence is stored in %s; beginning from the clock", path)
    except OSError as error:
        _log.warning("The ring sequence in %s cannot be read (%s); beginning from the clock", path, error.strerror)
    else:
        sequence = int.from_bytes(content, "little")
        if len(content) == _U64.size and 0 < sequence < SEQUENCE_MAX:
            return sequence
        _log.warning("The ring sequence in %s is damaged; beginning from the clock", path)
    return _from_the_clock()


def _from_the_clock() -> int:
    return int(time.time() * SEQUENCES_PER_SECOND)
