"""A replica: how it handles the events of its group.

**Order.** Only the group's commands change the state, in the group's total order, so all replicas have equal states.
Commands are SAFE messages. One that is delivered in the regular configuration has reached all members of the ring, so
its author may be told that it is done. One that is delivered in the transitional configuration is applied, too. But its
author is told only after the group has gone on from that very state.

**Going on.** After a ring change no command is applied until a `Form` message says that the group goes on. All members
see it at the same place of the order. It is decided from `Hello` messages, in which members report what they have;
`formation.py` has the rules. A member with another state than the chosen one throws its state away, and asks for that.

**Joining.** A hello in a group that goes on asks for the state at the place of that hello; `transfer.py` has the rest.
After the asker has caught up it sends `Done`, and is a holder from that place on.

A member that has just joined does not know whether the group goes on (phase NEW). It learns that the group does not
when it is alone, when the ring changes, or when all other members have sent a hello: a holder in a group that goes on
sends none.
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
"""A new ring's sequence is this much above the highest that any of its members has seen (Totem)."""
ASK_AGAIN_MS = 30_000
"""A member that has received no part of the state for so long asks again."""
DECIDE_AGAIN_MS = 2000
"""A decision without effect for so long is sent again, also by other holders."""


class Replica(Member):
    """The protocol of this module. `outbox` holds messages to send (SAFE), `notices` those for the shell."""

    # -- called by the shell -------------------------------------------------------------------------------------

    def quorum(self, ring: RingId, nodes: Iterable[int], is_quorate: bool, now_ns: int) -> None:
        """Note whether a ring with these nodes has quorum."""
        self._now_ns = now_ns
        self._quorum = (ring, is_quorate)
        self._guess(ring, nodes)
        if self.phase is Phase.FORMED and self.is_holder and not self._has_quorum and self._ring == ring:
            self._send(Stop(self.author, self.state.history.era))
        self._evaluate()
        self._flush()

    def tick(self, now_ns: int) -> None:
        """Check what is due by time. Call it ten times a second."""
        self._now_ns = now_ns
        is_waiting = self.phase in (Phase.NEW, Phase.FORMED) and not self.is_live
        if is_waiting and now_ns - self._asked_ns >= ASK_AGAIN_MS * MS:
            self._getting = None
            self._hello()
        self._evaluate()
        self._flush()

    def handle(self, event: Event, now_ns: int) -> None:
        """Handle the next event of the group."""
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

    # -- membership ----------------------------------------------------------------------------------------------

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
                self._keep(self._present())  # the last hello may have been answered already, with a state before this
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
        """Append a membership change within a ring to the history: all holders see it at the same place."""
        entry = self._present()
        if self.is_live:
            self._apply(entry)
            if has_lost and self.is_holder and self.me == min(self.state.history.holders.values()):
                self._send(Merged(self.author, ()))  # once it is delivered as SAFE all have the change before it
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
        """Begin as after a join, because no known member has the state."""
        self.phase = Phase.NEW
        self._getting = None
        self._begin_formation()
        self._alone_or_hello()

    def _await_ring(self) -> None:
        """Stop until the event with the new ring comes."""
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
        """Apply nothing until a `Form` says that the group goes on. Send a hello for it."""
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
            return  # the conflict has been reported, and this replica is out
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
        """Note the place of the own hello in the order: the state asked for is that of this place."""
        if self.is_live:
            return
        if self._getting is not None and self._getting.shadow is not None:
            self._getting.token = self._token
        else:
            self._getting = Getting(self._token, self._token)

    def _evaluate(self) -> None:
        """Send a `Form` if the hellos allow it and this member is the one to decide."""
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
        # A member that has just joined may know only an older ring, from a quorum notification that was late.
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
                self._hello()  # there may have been no holder at the place of the last hello, and so no answer
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

    # -- state transfer ------------------------------------------------------------------------------------------

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
        """Adopt the received state, apply the entries since, and announce that this member is a holder."""
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
