"""The state of one replica with its history, the sessions of the authors, and a journal of recent commands.

An entry is a message or a membership change at its place in the order. All replicas with the state of the group apply
the same entries, and nothing else changes the state.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from rondo.recipes.core.history import History
from rondo.recipes.core.machine import Outcome
from rondo.recipes.core.sessions import Result, Sessions
from rondo.recipes.core.transfer import advance
from rondo.recipes.core.wire import Commands, Form, Merged, is_stored

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rondo.recipes.core.calls import Calls
    from rondo.recipes.core.machine import Machine
    from rondo.recipes.core.transfer import Entry, Getting

JOURNAL_COMMANDS_MAX = 10_000
JOURNAL_BYTES_MAX = 16 * 1024 * 1024
Command = tuple[bytes, int, bytes]
"""Author, number, command."""


class State:
    """The content of a snapshot, and the journal. The journal yields the commands of a history that is thrown away."""

    def __init__(self, author: bytes, machine: Machine) -> None:
        self.machine = machine
        self.history = History(is_stored=is_stored(author))
        self.sessions = Sessions()
        self._author = author
        self._journal: deque[Command] = deque()
        self._journal_bytes = 0
        self.journal_dropped = 0
        """How many commands the journal dropped for lack of room. A `Lost` notice cannot contain them."""

    def apply(self, entry: Entry, calls: Calls) -> list[int]:
        """Apply an entry. Returns the numbers of the own commands that every member has with it."""
        advance(self.history, entry)
        letter = entry.letter
        match letter:
            case Commands():
                return self._commands(letter, entry, calls)
            case Merged():
                for author, number, command in letter.items:
                    if not self.sessions.is_done(author, number) and self.sessions.is_new_merge(author, number):
                        self._run(author, number, command)
            case Form() | None:
                if letter is not None:
                    self.machine.went_on(letter.ring[1])
                for author in self.sessions.present(entry.members):
                    self.machine.gone(author)
        return []

    def _commands(self, letter: Commands, entry: Entry, calls: Calls) -> list[int]:
        session = self.sessions.heard(letter.author, entry.sender, letter.low)
        is_own = letter.author == self._author
        certain: list[int] = []
        for number, command in letter.items:
            if number < session.low:
                continue
            if number not in session.results:
                session.results[number] = self._run(letter.author, number, command)
            if is_own and entry.is_certain and number in calls.open:
                certain.append(number)
        return certain

    def _run(self, author: bytes, number: int, command: bytes) -> Result:
        self._journal.append((author, number, command))
        self._journal_bytes += len(command)
        while len(self._journal) > JOURNAL_COMMANDS_MAX or self._journal_bytes > JOURNAL_BYTES_MAX:
            self._journal_bytes -= len(self._journal.popleft()[2])
            self.journal_dropped += 1
        try:
            return True, self.machine.apply(author, command)
        except Exception as error:  # of the application: it is the result of the command on every replica
            return False, f"{type(error).__name__}: {error}".encode()

    def settle(self, calls: Calls) -> list[int]:
        """The own open commands that are done in this state. Called when the group has gone on from it."""
        return [number for number in calls.open if self.sessions.result(self._author, number) is not None]

    def outcome(self, number: int) -> Outcome:
        """The outcome of an own command that is done."""
        result = self.sessions.result(self._author, number)
        assert result is not None
        return Outcome(number, *result)

    def adopt(self, getting: Getting) -> list[Command]:
        """Take over the received state. Returns the journal of the old one; nothing if both are the same."""
        assert getting.base is not None
        before = list(self._journal)
        self.history = getting.base
        if getting.is_same:
            return []
        self.sessions = Sessions.restored(getting.sessions)
        self.machine.restore(getting.take_pieces())
        self._journal.clear()
        self._journal_bytes = 0
        return before

    def recover(self, history: History, sessions: bytes, pieces: Iterator[bytes]) -> None:
        """Take over a snapshot from disk."""
        self.history = history
        self.sessions = Sessions.restored(sessions)
        self.machine.restore(pieces)

    def not_done(self, commands: list[Command], calls: Calls) -> tuple[Command, ...]:
        """The commands that are not done in this state, without own open ones: those are sent again anyway."""
        return tuple(
            (author, number, command)
            for author, number, command in commands
            if not self.sessions.is_done(author, number) and not (author == self._author and number in calls.open)
        )
