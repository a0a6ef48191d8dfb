"""The base of a replica: its fields, the calls of its shell, and its messages. `replica.py` handles the events."""

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
    """Whether the group goes on, as far as this member knows.

    OUT: it is not a member. NEW: it has joined, and does not know yet. OPEN: the group has not decided since the last
    change of the ring. FORMED: the group goes on.
    """

    OUT = "out"
    NEW = "new"
    OPEN = "open"
    FORMED = "formed"


class Member:
    """The fields and messages of a replica. `outbox` holds messages to send (SAFE), `notices` those for the shell."""

    def __init__(
        self,
        me: MemberId,
        author: bytes,
        machine: Machine,
        *,
        has_votes: bool = True,
        abandon_ms: int | None = ABANDON_MS,
        nodes_min: int = 1,
    ) -> None:
        """`author` must be unique among all replicas, past ones included. If it is longer than a seat, the state is on
        disk. Then the shell first reads the disk (`recover_round`, `recover_snapshot`, `recover_record`), and later
        carries out the writes of `storage`."""
        self.me = me
        self.author = author
        self.outbox: deque[bytes] = deque()
        self.notices: deque[Notice] = deque()
        self.refused: Counter[str] = Counter()
        """How many messages had no effect, by reason."""
        self.calls = Calls(author)
        self.state = State(author, machine)
        self.storage = Storage(author, has_votes=has_votes) if is_stored(author) else None
        self.phase = Phase.OUT
        self.members: tuple[MemberId, ...] = ()
        self.is_holder = False
        self.is_live = False
        """True if the own state is that of the group. It is so for a holder, and after catching up."""
        self._has_votes = has_votes
        self._formation = Formation(has_votes, abandon_ms, is_stored(author), nodes_min)
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
        """The latest news that the group went on: in which ring, in which era, and which members had the state."""
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
        """True if this replica carries out commands."""
        return self.phase is Phase.FORMED and self.is_holder and not self._is_suspended

    @property
    def is_without_quorum(self) -> bool:
        """True if the node has said that this side has no quorum."""
        return self._has_votes and self._quorum is not None and not self._quorum[1]

    @property
    def awaited_nodes(self) -> tuple[int, ...]:
        """The nodes whose disks the group waits for, as far as is known."""
        return self._formation.awaited() if self.storage is not None and self.phase is Phase.OPEN else ()

    @property
    def nodes_lacking(self) -> int:
        """The number of nodes that must join before a new state may begin. For people."""
        return self._formation.nodes_lacking(self.members) if self.phase is Phase.OPEN else 0

    # -- the disk ------------------------------------------------------------------------------------------------

    def recover_round(self, number: int) -> None:
        """Take over the latest round from disk."""
        assert self.storage is not None
        self.storage.round = self.storage.round_written = number

    def recover_snapshot(self, header: bytes, sessions: bytes, pieces: Iterator[bytes]) -> None:
        """Take over a snapshot from disk. Raises Malformed, and whatever the machine's `restore` raises."""
        self.state.recover(history_of(header), sessions, pieces)

    def recover_record(self, record: bytes) -> None:
        """Take over the next log record from disk. Raises Malformed."""
        entry = entry_of(record)
        if isinstance(entry, int):
            self.state.history.settled(entry)
        else:
            self.state.apply(entry, self.calls)

    def written(self, place: Place | None, number: int, now_ns: int) -> None:
        """Note that everything up to `place`, and the round `number`, is on disk."""
        assert self.storage is not None
        self._now_ns = now_ns
        if place is not None:
            self.storage.written(place)
        self.storage.round_written = number
        if self._owes_hello and number >= self.storage.round and not self.is_live:
            self._hello()
        self._flush()

    def compact(self) -> None:
        """Have a snapshot written, so that the log before it can be removed."""
        assert self.storage is not None
        state = self.state
        self.storage.snapshot(state.history, state.sessions.snapshot(), state.machine.snapshot(), is_adopted=False)

    # -- callers -------------------------------------------------------------------------------------------------

    def do(self, command: bytes) -> int:
        """Issue a command. Returns its number, by which its `Outcome` is found."""
        number = self.calls.add(command)
        self._flush()
        return number

    def read(self) -> int:
        """Issue a linearizable read. Returns its number, by which its `Outcome` is found."""
        number = self.calls.add_read()
        self._flush()
        return number

    def forget(self, number: int) -> None:
        """Drop a command or read that has no caller any more. It may be carried out nevertheless."""
        self.calls.forget(number)

    def merge(self, commands: Iterable[tuple[bytes, int, bytes]]) -> None:
        """Have commands of a `Lost` notice carried out on the present history. Each is done once, however many ask."""
        new = {(author, number): command for author, number, command in commands}
        self._to_merge.update(new)
        if self.is_ready:
            self._send_merged(new)

    def _guess(self, ring: RingId, nodes: Iterable[int]) -> None:
        """Take over the latest ring that others name. A member that has just joined gets no event that names it."""
        if self._ring is None or (self._is_guess and ring[1] > self._ring[1]):
            self._ring, self._is_guess = ring, True
            self._nodes = tuple(nodes)

    @property
    def _has_quorum(self) -> bool:
        return not self._has_votes or (self._quorum is not None and self._quorum == (self._ring, True))

    def _conflict(self, why: str) -> None:
        """Leave for good: this replica does not fit into the group."""
        self._out(why)
        self.notices.append(Conflict(why))

    def _is_of_another_kind(self, author: bytes) -> bool:
        """True if the author keeps its state on disk and this replica does not, or the other way round."""
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
        """Collect hellos anew, on disk in a new round."""
        self._formation.begin(self._now_ns)
        if self.storage is not None:
            self.storage.at_least(self.storage.round + 1)

    def _hello(self) -> None:
        self._asked_ns = self._now_ns
        self._owes_hello = self.storage is not None and self.storage.round_written < self.storage.round
        if self._owes_hello:
            return  # the hello may promise the round only once it is on disk; `written` sends it
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
        """Note that these members have a state of this era."""
        self._knows = max(self._knows, era)
        self._known_holders = holders
        self._went_on = (self._ring, era, frozenset(holders.values()))

    def _is_without_state(self, member: MemberId) -> bool:
        """True if a member's hello shows that it does not have the state of a group that goes on."""
        hello = self._formation.heard.get(member)
        if hello is None or self.me not in hello.members:
            return False
        ring, era, holders = self._went_on
        was_on_its_way = ring == self._ring and member in holders and hello.knows < era
        return not was_on_its_way  # its hello was sent before it knew that the group went on

    def _go_on(self) -> None:
        """Work as a holder: the group knows that this member has the state."""
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
        """Apply an entry to the state."""
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
        """Complete own commands that every member has. On disk they wait until they are durable."""
        if self.storage is not None:
            self.storage.hold(self.state.history.index, numbers)
            return
        for number in numbers:
            self.notices.append(self.state.outcome(number))
            self.calls.forget(number)

    def _tell_durable(self) -> None:
        """Complete own commands and reads whose state has become durable."""
        assert self.storage is not None
        for number in self.storage.due(self.state.history):
            if number in self.calls.open:
                self.notices.append(self.state.outcome(number))
                self.calls.forget(number)
            elif number in self.calls.reads:
                self.notices.append(Outcome(number, True, b""))
                self.calls.forget(number)

    def _keep(self, entry: Entry) -> None:
        """Keep an entry until the state has been received."""
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
        """Move all messages that may be sent now to the outbox."""
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
