"""The own commands that are not over: numbered, batched, sent again until a result is known.

While few commands are on their way, the next one goes at once. Otherwise it waits for those before it, and all that is
asked for meanwhile travels together, but for what fills a message by itself: the more callers there are, the larger
the batches, without a clock. At most `MESSAGES_MAX` messages are on their way at once.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from rondo.recipes.core.wire import Commands, Reads

if TYPE_CHECKING:
    from collections.abc import Collection

MESSAGES_MAX = 32
FEW_COMMANDS = 16
"""While fewer are on their way, nothing waits. A message costs all nodes the same whatever is in it."""
BATCH_COMMANDS_MAX = 512
BATCH_BYTES_MAX = 256 * 1024


class Calls:
    """Commands and reads of one author."""

    def __init__(self, author: bytes) -> None:
        self._author = author
        self.open: dict[int, bytes] = {}
        """Commands without a result, by number, ascending."""
        self.reads: set[int] = set()
        """Reads that wait for their place in the order."""
        self._unsent: deque[tuple[int, int]] = deque()
        """Number and size of each; of some, nobody may wait any more."""
        self._unsent_bytes = 0
        self._unsent_reads: set[int] = set()
        self._reads_by_stamp: dict[int, set[int]] = {}
        self._on_the_way: dict[int, int] = {}
        """How many commands each message has, by its stamp."""
        self._commands_on_the_way = 0
        self._last_number = 0
        self._last_stamp = 0

    @property
    def low(self) -> int:
        """All commands below are over."""
        return next(iter(self.open), self._last_number + 1)

    def add(self, command: bytes) -> int:
        """A new command; its number."""
        self._last_number += 1
        self.open[self._last_number] = command
        self._unsent.append((self._last_number, len(command)))
        self._unsent_bytes += len(command)
        return self._last_number

    def add_read(self) -> int:
        """A new read; its number."""
        self._last_number += 1
        self.reads.add(self._last_number)
        self._unsent_reads.add(self._last_number)
        return self._last_number

    def forget(self, number: int) -> None:
        """Nobody waits for it any more. If it was not sent it never will be."""
        self.open.pop(number, None)
        self.reads.discard(number)
        self._unsent_reads.discard(number)

    def send_again(self, but: Collection[int] = ()) -> None:
        """What was sent so far may be lost: all that is open goes out again, but for what is known to be done."""
        self._unsent = deque((n, len(command)) for n, command in self.open.items() if n not in but)
        self._unsent_bytes = sum(size for _, size in self._unsent)
        self._unsent_reads = set(self.reads)
        self._on_the_way.clear()
        self._commands_on_the_way = 0
        self._reads_by_stamp.clear()

    def came_back(self, stamp: int) -> None:
        """A message of commands has its place in the order."""
        self._commands_on_the_way -= self._on_the_way.pop(stamp, 0)

    def reads_due(self, stamp: int) -> list[int]:
        """The reads whose place in the order this is."""
        self.came_back(stamp)
        return sorted(self._reads_by_stamp.pop(stamp, set()) & self.reads)

    def messages(self) -> list[Commands | Reads]:
        """What may be sent now."""
        found: list[Commands | Reads] = []
        while self._unsent and len(self._on_the_way) < MESSAGES_MAX and (self._are_few() or self._fill_a_message()):
            items: list[tuple[int, bytes]] = []
            size = 0
            while self._unsent and len(items) < BATCH_COMMANDS_MAX and size < BATCH_BYTES_MAX:
                number, command_size = self._unsent.popleft()
                self._unsent_bytes -= command_size
                command = self.open.get(number)
                if command is not None:
                    items.append((number, command))
                    size += command_size
            if items:
                found.append(Commands(self._author, self._next_stamp(len(items)), self.low, tuple(items)))
        if self._unsent_reads and len(self._on_the_way) < MESSAGES_MAX:
            stamp = self._next_stamp(0)
            self._reads_by_stamp[stamp] = self._unsent_reads
            self._unsent_reads = set()
            found.append(Reads(self._author, stamp))
        return found

    def _are_few(self) -> bool:
        return self._commands_on_the_way < FEW_COMMANDS

    def _fill_a_message(self) -> bool:
        return len(self._unsent) >= BATCH_COMMANDS_MAX or self._unsent_bytes >= BATCH_BYTES_MAX

    def _next_stamp(self, commands: int) -> int:
        self._last_stamp += 1
        self._on_the_way[self._last_stamp] = commands
        self._commands_on_the_way += commands
        return self._last_stamp
