"""The commands and reads of this replica without a result: numbered, batched, and sent again until there is one.

A new command is sent at once while fewer than `FEW_COMMANDS` are in flight, or when the waiting ones fill a message.
Otherwise it waits, and is sent in one message with the others that wait. So batches grow with the number of callers,
and no timer is needed. At most `MESSAGES_MAX` messages are in flight.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from rondo.recipes.core.wire import Commands, Reads

if TYPE_CHECKING:
    from collections.abc import Collection

MESSAGES_MAX = 32
FEW_COMMANDS = 16
"""While fewer are in flight no command waits. More commands are batched, because each message has a fixed cost."""
BATCH_COMMANDS_MAX = 512
BATCH_BYTES_MAX = 256 * 1024


class Calls:
    """The open commands and reads of one author."""

    def __init__(self, author: bytes) -> None:
        self._author = author
        self.open: dict[int, bytes] = {}
        """Commands without a result, by number, in ascending order."""
        self.reads: set[int] = set()
        """Numbers of the reads that have no place in the order yet."""
        self._unsent: deque[tuple[int, int]] = deque()
        """Number and size in bytes of each. Commands without a caller are skipped when a message is made."""
        self._unsent_bytes = 0
        self._unsent_reads: set[int] = set()
        self._reads_by_stamp: dict[int, set[int]] = {}
        self._on_the_way: dict[int, int] = {}
        """The messages in flight: stamp, and number of commands."""
        self._commands_on_the_way = 0
        self._last_number = 0
        self._last_stamp = 0

    @property
    def low(self) -> int:
        """The lowest open number: all commands below it are over."""
        return next(iter(self.open), self._last_number + 1)

    def add(self, command: bytes) -> int:
        """Add a command. Returns its number."""
        self._last_number += 1
        self.open[self._last_number] = command
        self._unsent.append((self._last_number, len(command)))
        self._unsent_bytes += len(command)
        return self._last_number

    def add_read(self) -> int:
        """Add a read. Returns its number."""
        self._last_number += 1
        self.reads.add(self._last_number)
        self._unsent_reads.add(self._last_number)
        return self._last_number

    def forget(self, number: int) -> None:
        """Drop a command or read that has no caller any more. If it was not sent it never will be."""
        self.open.pop(number, None)
        self.reads.discard(number)
        self._unsent_reads.discard(number)

    def send_again(self, but: Collection[int] = ()) -> None:
        """Queue everything that is open once more, except `but`. What is in flight may be lost."""
        self._unsent = deque((n, len(command)) for n, command in self.open.items() if n not in but)
        self._unsent_bytes = sum(size for _, size in self._unsent)
        self._unsent_reads = set(self.reads)
        self._on_the_way.clear()
        self._commands_on_the_way = 0
        self._reads_by_stamp.clear()

    def came_back(self, stamp: int) -> None:
        """Note that an own message was delivered, so it is no longer in flight."""
        self._commands_on_the_way -= self._on_the_way.pop(stamp, 0)

    def reads_due(self, stamp: int) -> list[int]:
        """The open reads for which this own message was sent, by number. It has just been delivered."""
        self.came_back(stamp)
        return sorted(self._reads_by_stamp.pop(stamp, set()) & self.reads)

    def messages(self) -> list[Commands | Reads]:
        """The messages that may be sent now."""
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
