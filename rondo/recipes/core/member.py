"""What a replica keeps, what its shell asks of it, and what it says: all but what it makes of events (`replica.py`)."""

from __future__ import annotations

from collections import Counter, deque
from enum import Enum
from typing import TYPE_CHECKING

from rondo.recipes.core.calls import Calls
from rondo.recipes.core.formation import ABANDON_MS, Formation
from rondo.recipes.core.givers import Givers
from rondo.recipes.core.machine import Conflict, Machine, Notice, NotReady, Outcome, Ready
from rondo.recipes.core.state import State
from rondo.recipes.core.storage import Place, Storage, entry_of, history_of
from rondo.recipes.core.transfer import Entry, Getting
from rondo.recipes.core.wire import (
    NO_ERA,
    Done,
    Era,
    Hello,
    Letter,
    MemberId,
    Merged,
    RingId,
    encode,
    is_stored,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Phase(Enum):
    """Whether the group goes on, as far as this member knows."""

    OUT = "out"
    NEW = "new"
    OPEN = "open"
    FORMED = "formed"


class Member:
    """`outbox` has what is to be sent (SAFE), `notices` what the application is to be told."""

    def __init__(
        self,
        me: MemberId,
        author: bytes,
        machine: Machine,
        *,
        has_votes: bool = True,
        abandon_ms: int | None = ABANDON_MS,
    ) -> None:
        """`author`: bytes that no other replica has, and no earlier one had. If they are more than a seat's, the state
        is on disk: the shell first says what is there (`recover`), and carries out the `storage`'s writes."""
        self.me = me
        self.author = author
        self.outbox: deque[bytes] = deque()
        self.notices: deque[Notice] = deque()
        self.refused: Counter[str] = Counter()
        """Messages without effect, by reason."""
        self.calls = Calls(author)
        self.state = State(author, machine)
        self.storage = Storage(author, has_votes=has_votes) if is_stored(author) else None
        self.phase = Phase.OUT
        self.members: tuple[MemberId, ...] = ()
        self.is_holder = False
        self.is_live = False
        """Whether the state is that of the group: a holder's, or that of one who has just caught up."""
        self._has_votes = has_votes
        self._formation = Formation(has_votes, abandon_ms, is_stored(author))
        self._givers = Givers(me, self.state)
        self._getting: Getting | None = None
        self._ring: RingId | None = None
        self._nodes: tuple[int, ...] = ()
        self._quorum: tuple[RingId, bool] | None = None
        self._awaits_ring = False
        self._is_suspended = False
        self._is_sound = False
        self._is_guess = False
        self._knows = NO_ERA
        self._known_holders: dict[bytes, MemberId] = {}
        self._went_on: tuple[RingId | None, Era, frozenset[MemberId]] = (None, NO_ERA, frozenset())
        """When this member was last told that the group went on: in which ring, the era, and who had the state."""
        self._was_ready = False
        self._life = 0
        self._token = 0
        self._asked_ns = 0
        self._owes_hello = False
        self._decided_ns: int | None = None
        self._now_ns = 0
        self._to_merge: dict[tuple[bytes, int], bytes] = {}

    @property
    def is_ready(self) -> bool:
        """Whether commands are carried out here."""
        return self.phase is Phase.FORMED and self.is_holder and not self._is_suspended

    @property
    def is_without_quorum(self) -> bool:
        """Whether this side is known not to have it."""
        return self._has_votes and self._quorum is not None and not self._quorum[1]

    @property
    def awaited_nodes(self) -> tuple[int, ...]:
        """The nodes without whose disks the group does not go on, as far as is known."""
        return self._formation.awaited() if self.storage is not None and self.phase is Phase.OPEN else ()

    # -- the disk ------------------------------------------------------------------------------------------------

    def recover_round(self, number: int) -> None:
        """The latest round that was written."""
        assert self.storage is not None
        self.storage.round = self.storage.round_written = number

    def recover_snapshot(self, header: bytes, sessions: bytes, pieces: Iterator[bytes]) -> None:
        """Be what was written. Raises Malformed, and whatever the state itself finds wrong with it."""
        self.state.recover(history_of(header), sessions, pieces)

    def recover_record(self, record: bytes) -> None:
        """The next record of the log. Raises Malformed."""
        entry = entry_of(record)
        if isinstance(entry, int):
            self.state.history.settled(entry)
        else:
            self.state.apply(entry, self.calls)

    def written(self, place: Place | None, number: int, now_ns: int) -> None:
        """Everything is on disk up to there, and the round with this number."""
        assert self.storage is not None
        self._now_ns = now_ns
        if place is not None:
            self.storage.written(place)
        self.storage.round_written = number
        if self._owes_hello and number >= self.storage.round and not self.is_live:
            self._hello()
        self._flush()

    def compact(self) -> None:
        """Write the state, so that the log before it can go."""
        assert self.storage is not None
        state = self.state
        self.storage.snapshot(state.history, state.sessions.snapshot(), state.machine.snapshot(), is_adopted=False)

    # -- callers -------------------------------------------------------------------------------------------------

    def do(self, command: bytes) -> int:
        """A command; its number, which its `Outcome` will have."""
        number = self.calls.add(command)
        self._flush()
        return number

    def read(self) -> int:
        """A place in the order; its number, which its `Outcome` will have."""
        number = self.calls.add_read()
        self._flush()
        return number

    def forget(self, number: int) -> None:
        """Nobody waits for this command or read any more. It may be done all the same."""
        self.calls.forget(number)

    def merge(self, commands: Iterable[tuple[bytes, int, bytes]]) -> None:
        """Commands of `Lost`, to be done on the history that went on; each once, whoever asks for it."""
        new = {(author, number): command for author, number, command in commands}
        self._to_merge.update(new)
        if self.is_ready:
            self._send_merged(new)

    def _guess(self, ring: RingId, nodes: Iterable[int]) -> None:
        """Who has just joined is told no ring. It is the latest that it hears of, until the group says so."""
        if self._ring is None or (self._is_guess and ring[1] > self._ring[1]):
            self._ring, self._is_guess = ring, True
            self._nodes = tuple(nodes)

    @property
    def _has_quorum(self) -> bool:
        return not self._has_votes or (self._quorum is not None and self._quorum == (self._ring, True))

    def _conflict(self, why: str) -> None:
        """This replica has no business here."""
        self._out(why)
        self.notices.append(Conflict(why))

    def _is_of_another_kind(self, author: bytes) -> bool:
        """Whether the others keep their state on disk and this one does not, or the other way round."""
        if self.is_live or is_stored(author) == (self.storage is not None):
            return False
        if self.storage is None or self.phase is not Phase.OPEN:
            where, here = ("on disk", "in memory") if self.storage is None else ("in memory", "on disk")
            self._conflict(f"the others of this group keep its state {where}, and this process {here}")
        return True

    def _out(self, why: str) -> None:
        self.phase = Phase.OUT
        self.is_live = self.is_holder = self._is_sound = self._awaits_ring = False
        self._ring = self._getting = None
        self._owes_hello = False
        self._givers.forget_all()
        if self.storage is not None:
            self.storage.stop()
        self._not_ready(why)

    def _begin_formation(self) -> None:
        """All members say anew what they have."""
        self._formation.begin(self._now_ns)
        if self.storage is not None:
            self.storage.at_least(self.storage.round + 1)

    def _hello(self) -> None:
        self._asked_ns = self._now_ns
        self._owes_hello = self.storage is not None and self.storage.round_written < self.storage.round
        if self._owes_hello:
            return  # it is said when the round is on disk
        self._token += 1
        history, getting = self.state.history, self._getting
        if not history.is_blank:
            self._known_holders = history.holders
        begun = None
        if getting is not None and getting.shadow is not None:
            begun = (getting.origin, getting.parts, getting.shadow.fingerprint)
        self._send(
            Hello(
                self.author,
                self._life,
                self._token,
                self._ring if self.phase is Phase.OPEN else None,
                history.fingerprint,
                self._is_sound,
                tuple(sorted((author, *member) for author, member in self._known_holders.items())),
                max(self._knows, history.era),
                tuple(tuple(sorted(seats)) for _, seats in history.doubts),
                history.lineage,
                self.storage.round if self.storage is not None else 0,
                begun,
                getting.givers if getting is not None else (),
                self.members,
            )
        )

    def _know(self, era: Era, holders: dict[bytes, MemberId]) -> None:
        """Others have a state of this era."""
        self._knows = max(self._knows, era)
        self._known_holders = holders
        self._went_on = (self._ring, era, frozenset(holders.values()))

    def _is_without_state(self, member: MemberId) -> bool:
        """Whether a member has said hello since it may have had the state of a group that goes on."""
        hello = self._formation.heard.get(member)
        if hello is None or self.me not in hello.members:
            return False
        ring, era, holders = self._went_on
        was_on_its_way = ring == self._ring and member in holders and hello.knows < era
        return not was_on_its_way  # when the group went on

    def _go_on(self) -> None:
        """This member has the state, and is known to have it."""
        done = self.state.settle(self.calls)
        self._done(done)
        self.calls.send_again(done)
        self._send_merged(self._to_merge)
        self._tell_ready()

    def _present(self) -> Entry:
        return Entry(self.me, b"", None, True, self.members)

    @property
    def _has_no_answer(self) -> bool:
        return not self.is_live and (self._getting is None or self._getting.shadow is None)

    def _apply(self, entry: Entry) -> None:
        """An entry changes the state."""
        done = self.state.apply(entry, self.calls)
        if self.storage is not None:
            self.storage.append(entry, self.state.history)
        self._done(done)
        letter = entry.letter
        if isinstance(letter, Done) and letter.era == self.state.history.era:
            self._givers.forget(letter.author)
            if entry.sender == self.me and not self.is_holder:
                self.is_holder = True
                if entry.is_certain:
                    self._go_on()
        elif isinstance(letter, Merged) and entry.is_certain:
            for author, number, _ in letter.items:
                self._to_merge.pop((author, number), None)

    def _done(self, numbers: list[int]) -> None:
        """These own commands are done, and everybody has them."""
        if self.storage is not None:
            self.storage.hold(self.state.history.index, numbers)
            return
        for number in numbers:
            self.notices.append(self.state.outcome(number))
            self.calls.forget(number)

    def _tell_durable(self) -> None:
        """Tell what has become certain to outlive all processes."""
        assert self.storage is not None
        for number in self.storage.due(self.state.history):
            if number in self.calls.open:
                self.notices.append(self.state.outcome(number))
                self.calls.forget(number)
            elif number in self.calls.reads:
                self.notices.append(Outcome(number, True, b""))
                self.calls.forget(number)

    def _keep(self, entry: Entry) -> None:
        """An entry for when the state is there."""
        assert self._getting is not None
        if not self._getting.keep(entry):
            self.refused["too much has come while the state was on its way"] += 1
            self._getting = None
            self._hello()

    def _send(self, letter: Letter) -> None:
        self.outbox.append(encode(letter))

    def _send_merged(self, commands: dict[tuple[bytes, int], bytes]) -> None:
        if commands:
            self._send(Merged(self.author, tuple((*key, command) for key, command in commands.items())))

    def _flush(self) -> None:
        """Send what may be sent."""
        if self.is_ready:
            for call in self.calls.messages():
                self._send(call)
        if self.phase is Phase.FORMED and self.is_holder:
            for letter in self._givers.messages():
                self._send(letter)
        if self.storage is not None and self.phase is Phase.FORMED and self.is_live:
            if (stored := self.storage.message()) is not None:
                self._send(stored)
            self._tell_durable()

    def _tell_ready(self) -> None:
        if self.is_ready and not self._was_ready:
            self._was_ready = True
            self.notices.append(Ready())

    def _not_ready(self, why: str) -> None:
        if self._was_ready:
            self._was_ready = False
            self.notices.append(NotReady(why))
