"""The disk of a replica, for its shell. It is read at the start, and then gets the writes of the replica.

Writing is done in two steps. `collect` takes the writes from the replica, so it runs where the replica may be touched.
`work` carries them out, which may take long, so it may run elsewhere. Each turn also writes some of an unfinished
snapshot. Commands go on beside it, and the snapshot gets more bytes than the log, so it comes to an end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rondo.recipes.core.storage import Append, Place, Round, Snapshot
from rondo.recipes.core.wire import Malformed
from rondo.recipes.errors import StoreError
from rondo.recipes.store import MEND, Directory, Store

if TYPE_CHECKING:
    from rondo.recipes.core.replica import Replica
    from rondo.recipes.frames import FrameReader

Written = tuple[Place | None, int]
"""The place up to which the history is on disk (None: no further than before), and the latest round on disk."""
TURN_BYTES = 1024 * 1024
RECORDS_IN_STEP = 256


class Keeper:
    """The disk of one replica."""

    def __init__(self, store: Store, group: str) -> None:
        """Open the directory and lock it. Raises StoreError."""
        self.directory = Directory(store, group)
        self.author = self.directory.author
        self.may_abandon = store.abandon
        self._compact_bytes = store.compact_bytes
        self._jobs: deque[Callable[[], None]] = deque()
        self._pieces: Iterator[bytes] | None = None
        self._is_adopting = False
        self._place: Place | None = None
        self._is_new = False

    # -- at the start --------------------------------------------------------------------------------------------

    def recover(self, replica: Replica) -> Iterator[None]:
        """Restore the replica from disk. It yields between short steps. Raises StoreError."""
        replica.recover_round(self.directory.round)
        found = self.directory.find()
        try:
            if found.snapshot is not None:
                self._snapshot(replica, found.snapshot)
                yield
            last = None
            for reader in found.logs:
                is_replaceable = reader is found.logs[-1] and (last is not None or found.snapshot is None)
                if not self._goes_on(replica, reader, is_replaceable=is_replaceable):
                    self.directory.forget_from(reader)
                    break
                if last is not None and last.is_torn:
                    raise StoreError(f"{last.path}: its end is missing. {MEND}")
                last = reader
                yield from self._records(replica, reader)
            self.directory.go_on(last, replica.state.history.fingerprint)
        finally:
            for reader in filter(None, [found.snapshot, *found.logs]):
                reader.close()

    def _snapshot(self, replica: Replica, reader: FrameReader) -> None:
        header, sessions = reader.next(MEND), reader.next(MEND)
        try:
            if header is None or sessions is None:
                raise Malformed("its end is missing")
            replica.recover_snapshot(header, sessions, self.directory.pieces_of(reader))
        except StoreError:
            raise
        except Exception as error:  # the `restore` of the application may raise anything
            raise StoreError(f"{reader.path}: {type(error).__name__}: {error}. {MEND}") from error

    def _goes_on(self, replica: Replica, reader: FrameReader, *, is_replaceable: bool) -> bool:
        """True if the log continues the state that the replica has now. Raises StoreError.

        `is_replaceable`: the log may have no beginning. This only means that its process ended while it made the file.
        """
        base = self.directory.base_of(reader)
        if base is None:
            if not is_replaceable:
                raise StoreError(f"{reader.path}: its beginning is missing. {MEND}")
            return False
        fingerprint, is_adopted = base
        if fingerprint == replica.state.history.fingerprint:
            return True
        if is_adopted:
            return False
        raise StoreError(f"{reader.path}: it does not go on from where the one before it ends. {MEND}")

    def _records(self, replica: Replica, reader: FrameReader) -> Iterator[None]:
        count = 0
        while (record := reader.next(MEND)) is not None:
            try:
                replica.recover_record(record)
            except Malformed as error:
                raise StoreError(f"{reader.path}: at byte {reader.at}: {error}. {MEND}") from error
            count += 1
            if count % RECORDS_IN_STEP == 0:
                yield

    # -- at run time ---------------------------------------------------------------------------------------------

    def is_busy(self, replica: Replica) -> bool:
        """True if there is something to write."""
        assert replica.storage is not None
        return bool(replica.storage.writes or self._jobs or self._pieces is not None)

    def collect(self, replica: Replica) -> None:
        """Take the writes of the replica, and a share of an unfinished snapshot."""
        assert replica.storage is not None
        directory, writes = self.directory, replica.storage.writes
        if self._pieces is None and directory.log_bytes > max(self._compact_bytes, directory.snapshot_bytes):
            replica.compact()
        taken = 0
        while writes:
            write = writes.popleft()
            if isinstance(write, Round):
                self._jobs.append(lambda number=write.round: directory.write_round(number))  # type: ignore[misc]
                self._is_new = True
                continue
            if isinstance(write, Append):
                taken += len(write.record)
                self._jobs.append(lambda record=write.record: directory.append(record))  # type: ignore[misc]
            else:
                self._begin(write)
            if write.place is not None:
                self._place, self._is_new = write.place, True
        self._take_pieces(TURN_BYTES + 2 * taken)

    def _begin(self, write: Snapshot) -> None:
        self._is_adopting = self._is_adopting or write.is_adopted
        self._pieces = write.pieces
        base: Any = write.fingerprint

        def begin() -> None:
            self.directory.begin_snapshot(base, write.header, write.sessions, is_adopted=write.is_adopted)

        self._jobs.append(begin)

    def _take_pieces(self, budget: int) -> None:
        while self._pieces is not None and budget > 0:
            piece = next(self._pieces, None)
            if piece is None:
                self._pieces = None
                self._jobs.append(self._finish)
                return
            budget -= len(piece) + 1
            self._jobs.append(lambda piece=piece: self.directory.piece(piece))  # type: ignore[misc]

    def _finish(self) -> None:
        self.directory.finish_snapshot()
        self._is_adopting = False

    def work(self) -> Written | None:
        """Carry out what was collected. Returns what is on disk now, if that has changed. Raises StoreError."""
        while self._jobs:
            self._jobs.popleft()()
        self.directory.flush()
        if not self._is_new:
            return None
        self._is_new = self._is_adopting
        return None if self._is_adopting else self._place, self.directory.round

    def close(self) -> None:
        """Release the disk for other processes."""
        self.directory.close()
