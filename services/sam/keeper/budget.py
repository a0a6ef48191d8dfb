"""The disk space that the output of applications may take: one limit for each user, and one for all together.

The keeper writes the output, so the keeper counts it. When a limit is reached, it drops the oldest part of the largest
output. At the limit of a user, that is the largest output of this user. At the common limit, it is the largest output
of the user with the most output. Root and the node's own user are favoured, as with other quotas
(`services.sam.quotas`): the limit per user does not apply to them, and a quarter of the space is reserved for them.
"""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

NO_LIMIT = 2**63
LOOK_AGAIN_S = 1.0
"""SAM removes files, too, so at a limit the keeper reads the sizes from the disk again, at most at this interval."""


class Files:
    """The two files of one application's output: the present one, and the older FILE.1."""

    __slots__ = ("path", "sizes", "uid")

    def __init__(self, path: str, uid: int) -> None:
        self.path = path
        self.uid = uid
        self.sizes = self.look()

    def look(self) -> list[int]:
        """The sizes of both files on the disk, in bytes; 0 if a file does not exist."""
        return [_size(self.path), _size(f"{self.path}.1")]

    @property
    def size(self) -> int:
        """The size of both files together, in bytes."""
        return sum(self.sizes)


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


class Budget:
    """The output files of this node. There is no limit until SAM has sent one."""

    def __init__(self) -> None:
        self._per_user = self._all = NO_LIMIT
        self._favoured = frozenset((0, os.geteuid()))
        self._by_path: dict[str, Files] = {}
        self._of_user: Counter[int] = Counter()
        """By user: bytes of output."""
        self._look_again_at_s = 0.0
        self.dropped: Counter[int] = Counter()
        """By user: bytes dropped since the keeper's loop last cleared this."""

    def limit(self, per_user_bytes: int, all_bytes: int) -> None:
        """Set the limits."""
        self._per_user, self._all = per_user_bytes, all_bytes

    def take_stock(self, directory: Path) -> None:
        """Count the files that an earlier keeper has left. The owner of the FIFO beside a file is the user."""
        with contextlib.suppress(OSError):
            for log in sorted(directory.glob("*.log")):
                with contextlib.suppress(OSError):
                    self.files(str(log), log.with_suffix(".out").lstat().st_uid)

    def files(self, path: str, uid: int) -> Files:
        """The files of the output at this path, which belong to this user. They are counted from now on."""
        if path not in self._by_path:
            self._by_path[path] = Files(path, uid)
            self._of_user[uid] += self._by_path[path].size
        return self._by_path[path]

    def resize(self, files: Files, now: int, older: int) -> None:
        """Record the present sizes of both files, in bytes."""
        self._of_user[files.uid] += now + older - files.size
        files.sizes = [now, older]

    def has_room(self, uid: int, more_bytes: int) -> bool:
        """True if so many more bytes may be written for this user. Makes room first, if necessary."""
        while (blamed := next(self._exceeded(uid, more_bytes), None)) is not None:
            if (now_s := time.monotonic()) >= self._look_again_at_s:
                self._look_again_at_s = now_s + LOOK_AGAIN_S
                self._look_again()
                continue
            own = [each for each in self._by_path.values() if each.uid == blamed]
            largest = max(own, key=lambda each: each.size, default=None)
            if largest is None or not largest.size or not self._drop(largest):
                return False
        return True

    def _exceeded(self, uid: int, more_bytes: int) -> Iterator[int]:
        """For each limit that would be exceeded: the user with the most output of those to whom the limit applies."""
        if uid not in self._favoured:
            if self._of_user[uid] + more_bytes > self._per_user:
                yield uid
            others = [each for each in self._of_user if each not in self._favoured]
            if sum(self._of_user[each] for each in others) + more_bytes > self._all - self._all // 4:
                yield max(others, key=self._of_user.__getitem__, default=uid)
        if self._of_user.total() + more_bytes > self._all:
            yield max(self._of_user, key=self._of_user.__getitem__, default=uid)

    def _drop(self, files: Files) -> bool:
        """Drop the older file or, if there is none, the content of the present one."""
        now, older = files.sizes
        try:
            if older:
                os.unlink(f"{files.path}.1")
            else:
                os.truncate(files.path, 0)
        except FileNotFoundError:
            pass
        except OSError:
            return False
        self.dropped[files.uid] += older or now
        self.resize(files, now if older else 0, 0)
        return True

    def _look_again(self) -> None:
        for path, each in list(self._by_path.items()):
            self.resize(each, *each.look())
            self.forget(path)

    def forget(self, path: str) -> None:
        """Stop counting an output that was closed, or whose files may be gone, unless a file still exists."""
        files = self._by_path.get(path)
        if files is not None and not files.size and not os.path.lexists(path):
            del self._by_path[path]
            if not self._of_user[files.uid]:
                del self._of_user[files.uid]
