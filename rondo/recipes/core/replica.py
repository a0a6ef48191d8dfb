"""One member of a replicated state: what it makes of the events of its group.

**Order.** The state changes by the commands of the group alone, in its order, so all states are equal. Commands are
SAFE: one that comes as regular is in all members of the ring, and its author may be told that it is done. One that
comes as transitional is carried out too, but its author is told only when the group has gone on from that very state.

**Going on.** After a ring change nothing is carried out until a message says that the group goes on (`Form`), at a
place of the order that all see. Members say what they have (`Hello`); `formation.py` has the rules. Whoever has
another state than the one with which the group goes on throws it away, and asks.

**Joining.** A hello in a group that goes on asks for the state of just that place; `transfer.py` has the rest. When the
asker has caught up it says `Done`, and is a holder from there on.

A member that has just joined does not know whether the group goes on (NEW). It knows when it is alone, when the ring
changes, or when all others have said hello, which nobody does who has the state of a group that goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rondo.errors import Disconnected
from rondo.events import (
    Configuration,
    Event,
    Membership,
    Message,
    Reason,
    Resumed,
    RingChange,
    Suspended,
)
from rondo.recipes.core.formation import MS
from rondo.recipes.core.history import History
from rondo.recipes.core.machine import Look, Lost, Members, Outcome, Progress
from rondo.recipes.core.member import Member, Phase
from rondo.recipes.core.transfer import Entry, Getting
from rondo.recipes.core.wire import (
    Again,
    Begin,
    Commands,
    Done,
    End,
    Form,
    Hello,
    Lacks,
    Letter,
    Malformed,
    MemberId,
    Merged,
    Part,
    Reads,
    RingId,
    Stop,
    Stored,
    decode,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

RING_SEQUENCE_STEP = 4
"""By so much the sequence of a ring is above the highest that any of its members has seen (Totem)."""
ASK_AGAIN_MS = 30_000
"""So long without a part of the state, and it asks anew."""
DECIDE_AGAIN_MS = 2000
"""So long without an effect, and a decision is said again, or by another member."""


class Replica(Member):
    """See above. `outbox` has what is to be sent (SAFE), `notices` what the application is to be told."""

    # -- what the shell says -------------------------------------------------------------------------------------

    def quorum(self, ring: RingId, nodes: Iterable[int], is_quorate: bool, now_ns: int) -> None:
        """What the node says of quorum, for which ring."""
        self._now_ns = now_ns
        self._quorum = (ring, is_quorate)
        self._guess(ring, nodes)
        if self.phase is Phase.FORMED and self.is_holder and not self._has_quorum and self._ring == ring:
            self._send(Stop(self.author, self.state.history.era))
        self._evaluate()
        self._flush()

    def tick(self, now_ns: int) -> None:
        """Time has passed. To be called ten times a second."""
        self._now_ns = now_ns
        is_waiting = self.phase in (Phase.NEW, Phase.FORMED) and not self.is_live
        if is_waiting and now_ns - self._asked_ns >= ASK_AGAIN_MS * MS:
            self._getting = None
            self._hello()
        self._evaluate()
        self._flush()

    def handle(self, event: Event, now_ns: int) -> None:
        """The next event of the group."""
        self._now_ns = now_ns
        match event:
            case Message(sender=sender, data=data, configuration=configuration):
                self._on_message((sender.node, sender.pid), data, configuration is Configuration.REGULAR)
            case Membership():
                self._on_membership(event)
            case RingChange(ring=ring, members=nodes):
                self._on_ring((ring.representative, ring.sequence), nodes)
            case Suspended(reason=reason):
                self._is_suspended = True
                self._not_ready(reason)
            case Resumed():
                self._is_suspended = False
                self._tell_ready()
            case Disconnected(reason=reason):
                self._is_suspended = False
                self._out(reason)
        self._evaluate()
        self._flush()

    # -- who is there --------------------------------------------------------------------------------------------

    def _on_membership(self, event: Membership) -> None:
        self.members = tuple((member.node, member.pid) for member in event.members)
        self.notices.append(Members(self.members))
        if any((change.node, change.pid) == self.me for change in event.left):
            self._out("this process has left the group")
            return
        if any((change.node, change.pid) == self.me for change in event.joined):
            self._come_in()
            return
        self._formation.keep(self.members)
        self._givers.keep(self.members)
        if any(change.reason in (Reason.NODEDOWN, Reason.NODEUP) for change in (*event.left, *event.joined)):
            self._await_ring()
        elif self.phase is Phase.FORMED:
            self._members_changed(has_lost=bool(event.left))
        elif self.phase is not Phase.OUT and not self._awaits_ring:
            if self.phase is Phase.NEW and self._getting is not None:
                self._keep(self._present())  # the answer to the hello of before may be on its way
            self._alone_or_hello()

    def _come_in(self) -> None:
        self._life += 1
        self.phase = Phase.NEW
        self._begin_formation()
        self._decided_ns = None
        if self._quorum is not None:
            self._guess(self._quorum[0], self._nodes)
        self._alone_or_hello()

    def _alone_or_hello(self) -> None:
        if self.members == (self.me,):
            self.phase = Phase.OPEN
        self._hello()

    def _members_changed(self, *, has_lost: bool) -> None:
        """In the same ring: an entry of the history, by which all see alike who is gone."""
        entry = self._present()
        if self.is_live:
            self._apply(entry)
            if has_lost and self.is_holder and self.me == min(self.state.history.holders.values()):
                self._send(Merged(self.author, ()))  # an entry that makes certain that all have this one
        elif self._getting is not None:
            self._keep(entry)
        if has_lost and not self.is_live:
            self._perhaps_lost_giver()

    def _perhaps_lost_giver(self) -> None:
        getting = self._getting
        if getting is None or getting.shadow is None or not set(getting.givers) & set(self.members):
            self._lost_giver()
        elif getting.giver not in self.members:
            self._hello()

    def _lost_giver(self) -> None:
        """Nobody is known who has the state."""
        self.phase = Phase.NEW
        self._getting = None
        self._begin_formation()
        self._alone_or_hello()

    def _await_ring(self) -> None:
        """The ring changes: what comes next is that ring."""
        if self.phase is Phase.OUT or self._awaits_ring:
            return
        self._awaits_ring = True
        if self.phase is Phase.FORMED:
            self._is_sound = self.is_live
        else:
            self._is_sound = self._is_sound and self._has_quorum
        self.phase = Phase.OPEN
        self._not_ready("the ring changes")

    def _on_ring(self, ring: RingId, nodes: tuple[int, ...]) -> None:
        if self.phase is Phase.OUT:
            return
        self._await_ring()
        old, self._ring, self._nodes = self._ring, ring, tuple(nodes)
        self._awaits_ring = self._is_guess = False
        self._is_sound = self._is_sound and old is not None and ring[1] == old[1] + RING_SEQUENCE_STEP
        self._reopen()

    def _reopen(self) -> None:
        """The group may not go on until it is said that it does."""
        self.phase = Phase.OPEN
        self.is_holder = self.is_live = False
        self._decided_ns = None
        if self.storage is not None:
            self.storage.stop()
        if self._getting is not None and self._getting.shadow is None:
            self._getting = None
        self._begin_formation()
        self._hello()

    # -- hello, and going on -------------------------------------------------------------------------------------

    def _on_hello(self, sender: MemberId, hello: Hello) -> None:
        if hello.ring is not None:
            self._guess(hello.ring, self._nodes)
        if hello.ring is not None and self._ring is not None and hello.ring != self._ring:
            self.refused["hello of another ring"] += 1
            return
        if self._is_of_another_kind(hello.author) and self.storage is None:
            return  # it is told that it may not be here
        self._formation.heard[sender] = hello
        if self.storage is not None and hello.round > self.storage.round:
            self.storage.at_least(hello.round)
            if self.phase is Phase.OPEN:
                self._hello()
        if sender == self.me and hello.token == self._token and self.phase in (Phase.NEW, Phase.FORMED):
            self._asked()
        if self.phase is Phase.FORMED and self.is_holder and self._ring is not None:
            for letter in self._givers.answer(hello, sender, self._ring):
                self._send(letter)

    def _asked(self) -> None:
        """The own hello has its place in the order: the state is asked for as it is here."""
        if self.is_live:
            return
        if self._getting is not None and self._getting.shadow is not None:
            self._getting.token = self._token
        else:
            self._getting = Getting(self._token, self._token)

    def _evaluate(self) -> None:
        """Say that the group goes on, if that is so and this is who says it."""
        if self.phase is Phase.NEW and all(map(self._is_without_state, self.members)):
            self.phase, self._getting = Phase.OPEN, None
        if self.phase is not Phase.OPEN or self._awaits_ring or self._ring is None or not self._has_quorum:
            return
        now_ns, decided_ns = self._now_ns, self._decided_ns
        if decided_ns is not None and now_ns - decided_ns < DECIDE_AGAIN_MS * MS:
            return
        decision = self._formation.decide(self.members, self._nodes, now_ns)
        if decision is None:
            return
        self._decided_ns = now_ns
        is_second = decided_ns is not None and any(each[0] == self.author for each in decision.holders)
        if decision.decider == self.me or is_second:
            self._send(
                Form(
                    self.author,
                    self._ring,
                    decision.why,
                    decision.fingerprint,
                    decision.holders,
                    self.members,
                    decision.round,
                )
            )

    def _on_form(self, sender: MemberId, form: Form, raw: bytes, is_certain: bool) -> None:
        # Who has just joined may know only an older ring, from a word of quorum that was late.
        self._guess(form.ring, self._nodes)
        if self.phase is Phase.FORMED or self._awaits_ring or (self._ring is not None and form.ring != self._ring):
            self.refused["goes on already, or in another ring"] += 1
            return
        if form.why in ("first", "abandoned") and set(form.members) != set(self.members):
            self.refused["decided without a member"] += 1
            self._decided_ns = None
            return
        if self._is_of_another_kind(form.author):
            return
        self._ring, self._is_guess = form.ring, False
        self.phase = Phase.FORMED
        entry = Entry(sender, raw, form, is_certain, self.members)
        self._know(form.era, {author: (node, pid) for author, node, pid, _ in form.holders})
        own = (self.author, *self.me, self._life)
        if own in form.holders and self.state.history.fingerprint == form.fingerprint:
            self._getting = None
            self.is_live = self.is_holder = True
            self._apply(entry)
            if is_certain:
                self._go_on()
            return
        shadow = self._getting.shadow if self._getting is not None else None
        if shadow is not None and shadow.fingerprint == form.fingerprint:
            self._keep(entry)
        else:
            self._getting = None
        self._not_ready("the state of the others is on its way")
        if any(each[:3] == own[:3] for each in form.holders):
            self._send(Lacks(self.author, form.era))
        self._hello()

    def _on_stop(self, stop: Stop) -> None:
        getting = self._getting
        history = self.state.history if self.is_live else getting.shadow if getting is not None else None
        if self.phase is Phase.FORMED and history is not None and history.era == stop.era:
            self._is_sound = self.is_live
            self._not_ready("this side has no quorum")
            self._reopen()
        elif self.phase is Phase.FORMED and history is None:
            self._lost_giver()

    # -- messages ------------------------------------------------------------------------------------------------

    def _on_message(self, sender: MemberId, raw: bytes, is_certain: bool) -> None:
        if self.phase is Phase.OUT:
            return
        try:
            letter = decode(raw)
        except Malformed as error:
            self.refused[str(error)] += 1
            return
        match letter:
            case Commands() | Merged() | Done() | Lacks():
                self._on_entry(Entry(sender, raw, letter, is_certain, ()))
            case Reads():
                self._on_reads(sender, letter, is_certain)
            case Hello():
                self._on_hello(sender, letter)
            case Form():
                self._on_form(sender, letter, raw, is_certain)
            case Stop():
                self._on_stop(letter)
            case Stored():
                self._on_stored(letter)
            case _:
                self._on_transfer(sender, letter)

    def _on_entry(self, entry: Entry) -> None:
        letter = entry.letter
        if entry.sender == self.me and isinstance(letter, Commands):
            self.calls.came_back(letter.stamp)
        if isinstance(letter, Done):
            self._formation.heard.pop(entry.sender, None)
            if entry.sender != self.me and self.phase in (Phase.NEW, Phase.FORMED) and self._has_no_answer:
                self._hello()  # nobody may have had the state at the place of the last one
        if isinstance(letter, Lacks) and self.phase is Phase.FORMED and not self.is_live:
            shadow = self._getting.shadow if self._getting is not None else None
            if shadow is None or not set(shadow.holders) - {letter.author}:
                self._lost_giver()
                return
        if self._awaits_ring or self.phase is Phase.OPEN:
            self.refused["the group does not go on"] += 1
        elif self.is_live:
            self._apply(entry)
        elif self._getting is not None:
            self._keep(entry)

    def _on_reads(self, sender: MemberId, reads: Reads, is_certain: bool) -> None:
        if sender != self.me:
            return
        due = self.calls.reads_due(reads.stamp)
        if is_certain and self.phase is Phase.FORMED and self.is_holder and not self._awaits_ring:
            for number in due:
                if self.storage is not None:
                    self.notices.append(Look(number))
                else:
                    self.calls.forget(number)
                    self.notices.append(Outcome(number, True, b""))
            if self.storage is not None:
                self.storage.hold(self.state.history.index, due)

    def _on_stored(self, letter: Stored) -> None:
        if self.storage is not None and self.is_live:
            self.storage.heard(letter, self.state.history)

    # -- the state on its way ------------------------------------------------------------------------------------

    def _on_transfer(self, sender: MemberId, letter: Letter) -> None:
        if sender == self.me and isinstance(letter, Part):
            self._givers.came_back(letter)
        getting = self._getting
        if not isinstance(letter, Begin | Part | End | Again) or letter.to != self.author:
            return
        if getting is None or letter.token != getting.token or self.phase not in (Phase.NEW, Phase.FORMED):
            self.refused["a part of another transfer"] += 1
            return
        self._asked_ns = self._now_ns
        getting.giver = sender
        match letter:
            case Begin():
                self._on_begin(getting, sender, letter)
            case Part():
                if getting.shadow is None or not getting.part(letter):
                    self._ask_anew()
                elif letter.ends_piece:
                    self.notices.append(Progress(getting.pieces_come, getting.bytes_come))
            case End(parts=parts):
                if getting.shadow is None or getting.parts != parts:
                    self._ask_anew()
                else:
                    self._finish(getting)
            case Again():
                self._ask_anew()

    def _ask_anew(self) -> None:
        self._getting = None
        self._hello()

    def _on_begin(self, getting: Getting, sender: MemberId, begin: Begin) -> None:
        author = next((each for each, *member in begin.holders if tuple(member) == sender), self.author)
        if self._is_of_another_kind(author):
            return
        own = self.state.history
        if self.storage is not None and not own.is_blank and own.lineage != begin.lineage:
            self._conflict("this disk has a history with another beginning than that with which the group goes on")
            return
        self.phase = Phase.FORMED
        self._ring, self._is_guess = begin.ring, False
        holders = {author: (node, pid) for author, node, pid in begin.holders}
        era, index, digest = begin.fingerprint
        self._know(era, holders)
        doubts = [(at, frozenset(seats)) for at, seats in begin.doubts]
        on_disk = self.storage is not None
        getting.begin(History(era, index, digest, holders, doubts, begin.lineage, on_disk), begin)
        if begin.is_same:
            self._finish(getting)

    def _finish(self, getting: Getting) -> None:
        """The state is there: be it, catch up with what came meanwhile, and say so."""
        assert getting.base is not None
        self._getting = None
        lost = self.state.adopt(getting)
        self.is_live = True
        if self.storage is not None and not getting.is_same:
            state = self.state
            self.storage.snapshot(state.history, getting.sessions, state.machine.snapshot(), is_adopted=True)
        for entry in getting.backlog:
            self._apply(entry)
        if lost and (left := self.state.not_done(lost, self.calls)):
            self.notices.append(Lost(left))
        self._send(Done(self.author, self.state.history.era))
