"""The cpg service without I/O: between totem's log on one side and the sessions on the other.

The groups (`core`) follow from the log alone, the sessions (`clients`) from what the gateway says; here both come
together: the hello to totem, the replay after a restart, the submission of requests within totem's credit, and the
acknowledgement of what every session has handled, with the snapshot from which a successor of this process can go on.

The caller hands in what the sockets and the clock give, calls `flush` afterwards, and sends what is in `to_totem` and
in `clients.frames`.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import Any, Final

from rondo.protocol import totem_reader
from rondo.protocol.codes import Code
from rondo.protocol.cpg_gateway import OpenFlag
from rondo.protocol.envelope import PROTOCOL_VERSION, BusError
from rondo.protocol.requests import REQUEST_CLOSE
from rondo.protocol.totem_reader import ENTRY_OVERHEAD_BYTES
from services.cpg.checkpoints import Checkpoints
from services.cpg.clients import Clients, Options
from services.cpg.core import Core
from services.cpg.sessions import Session, is_note, pack_table, unpack_table

ACK_BYTES: Final = 1024 * 1024
"""An acknowledgement is sent once it frees this much of totem's log, or after ..."""
ACK_DELAY_S: Final = 0.1
"""... this time."""

CONGESTED_S: Final = 0.001
"""So soon it is looked again whether a gateway that was behind has caught up: nothing tells of that."""

STALL_S: Final = 0.5
"""A session that handles nothing for so long, while a good part of the log waits for it, is detached ..."""
STALL_SHARE: Final = 0.15
"""... namely this part. From a fifth on totem slows the whole ring down, for the sake of those who do handle some."""

SNAPSHOT_S_PER_BYTE: Final = 400e-9
"""Between two snapshots, for each byte of the former. A byte takes 20 ns to pack: a twentieth of the time."""

ROWS_PER_TURN: Final = 1000
"""So many groups are packed for a snapshot in one turn, at some 2 us each: others are served before the next ones."""

PACKING_TURNS_MAX: Final = 64
"""After so many turns the rest is packed at once: groups that change faster than they are packed must not keep the log
from being freed."""

OPENING_S_MAX: Final = 5.0
"""How long nothing is acknowledged after a start because a gateway may know sessions that are not known here: so long
their events can be given again."""


class State(StrEnum):
    """What the service is doing."""

    WAITING = "waiting"
    """For totem."""
    REPLAYING = "replaying"
    """Evaluating what totem has kept."""
    SYNCING = "syncing"
    """The ring changed, and its members are agreeing on the groups."""
    OPERATIONAL = "operational"


class Machine:
    """One life of the cpg process."""

    def __init__(self, options: Options, pid: int) -> None:
        self.options = options
        self.pid = pid
        self.clients = Clients(options, pid)
        self.to_totem: deque[bytes] = deque()
        self.totem_pid = 0
        """Process id of totem; 0 = not known. The caller watches it, and calls `totem_lost` when it dies."""
        self.epoch = 0
        self.acked = 0
        self._welcomed = False
        self._head = 0
        """Position up to which the log is replayed."""
        self._checkpoints = Checkpoints(0)
        self.credit = 0
        self._submitted = 0
        self._held: deque[tuple[int, int]] = deque()
        """(last position, bytes) of each batch of entries that is not acknowledged."""
        self._held_bytes = 0
        self._kept_told: list[int] = []
        self._ack_due_s: float | None = None
        self._opening_until_s: float | None = None
        self._snapshot_at_s = 0.0
        """No snapshot is taken before."""
        self._packing_turns = 0
        """Turns in which groups were packed for the snapshot that is due; 0: none is."""
        self._stalled: tuple[tuple[int, int], float] | None = None
        self._flushed_s = 0.0
        """((session, position up to which it has handled all), when it is detached if that is still so)."""

    @property
    def core(self) -> Core:
        """The groups."""
        return self.clients.core

    @property
    def state(self) -> State:
        """What the service is doing."""
        if not self._welcomed:
            return State.WAITING
        if not self.clients.ready:
            return State.REPLAYING
        return State.OPERATIONAL if self.core.settled and self.core.ring is not None else State.SYNCING

    def hello(self) -> None:
        """Begin with totem, or begin again."""
        self._welcomed = False
        self.clients.ready = False
        self.to_totem.clear()
        self.to_totem.append(totem_reader.encode(totem_reader.Hello(self.epoch, PROTOCOL_VERSION, self.pid)))

    def totem_lost(self, reason: str) -> None:
        """Totem died: its epoch is over. Tells the sessions; `hello` begins with the next one."""
        if self.epoch:
            self.clients.lose(reason)
        self._begin(0, self.core.node_id)
        self.hello()

    def receive_totem(self, frame: bytes) -> None:
        """One envelope from totem. Raises `BusError`."""
        envelope = totem_reader.decode(frame)
        if isinstance(envelope, totem_reader.Welcome):
            self._welcome(envelope)
        elif isinstance(envelope, totem_reader.Again):
            # Anything but the answer to a hello that is under way already.
            if self._welcomed:
                self.hello()
        elif not self._welcomed or envelope.epoch != self.epoch:
            return
        elif isinstance(envelope, totem_reader.Log):
            self._log(envelope)
        elif isinstance(envelope, totem_reader.Taken):
            self.credit = envelope.credit
            self.clients.taken(envelope.taken)
        elif isinstance(envelope, totem_reader.Kept):
            for n, entry in envelope.entries:
                self.core.restore_part(n, entry)
        else:
            raise BusError(f"{type(envelope).__name__} is not for cpg")

    # Start, and start again.

    def _begin(self, epoch: int, node_id: int) -> None:
        """An empty state in an epoch."""
        self.epoch = self.clients.epoch = epoch
        self.clients.core = Core(node_id)
        self.clients.core_floor = 0
        self.clients.changed = True
        self.totem_pid = 0
        self.acked = 0
        self._kept_told = []

    def _welcome(self, welcome: totem_reader.Welcome) -> None:
        if welcome.version != PROTOCOL_VERSION:
            raise BusError(f"totem speaks version {welcome.version} of the bus, cpg version {PROTOCOL_VERSION}")
        if welcome.epoch != self.epoch and self.epoch:
            self.clients.lose("the ring process was restarted")
        had = self.core.n if welcome.epoch == self.epoch else 0
        self._begin(welcome.epoch, welcome.node_id)
        if welcome.core is not None:
            self.core.restore(welcome.core, welcome.position)
        self.core.n = welcome.position
        self.totem_pid = welcome.pid
        self._welcomed = True
        self._head = welcome.head
        self.acked = self.clients.core_floor = welcome.position
        self._checkpoints = Checkpoints(welcome.position)
        self.credit, self._submitted = welcome.credit, 0
        self._held.clear()
        self._held_bytes = 0
        self._restore_sessions(welcome, had)
        if self.core.n >= self._head:
            self._be_ready()

    def _restore_sessions(self, welcome: totem_reader.Welcome, had: int) -> None:
        """The sessions that totem kept for us, and those that we have, which have had events up to `had`."""
        table = self.clients.table
        for session in unpack_table(welcome.sessions) if welcome.sessions is not None else []:
            if session.ident not in table:
                session.acked = max(session.opened_at, welcome.position)
                session.epoch = welcome.epoch
                self.clients.put_back(session)
        taken = {pair[0]: pair[1] for pair in welcome.taken}
        for session in table.values():
            session.floor = max(session.opened_at, had)
            session.taken = session.submitted = taken.pop(session.ident, 0)
            session.inflight.clear()
            session.notes.clear()
            if session.flags & OpenFlag.RING_EVENTS and not session.closing:
                self.core.ring_listeners.add(session.ident)
        self.clients.taken_of_unknown = taken
        self.clients.changed = pack_table(table) != welcome.sessions
        for ident, request, note in welcome.pending:
            known = table.get(ident)
            if known is not None:
                known.inflight.append((request, request))
                if note is not None and is_note(note):
                    known.notes[request] = note

    def _be_ready(self) -> None:
        """The log has been evaluated up to where totem was: the sessions can go on."""
        clients = self.clients
        for group in list(self.core.table):
            for ident, pid in group.local.items():
                if ident not in clients.table:
                    clients.adopt(ident, pid)
        for session in list(clients.table.values()):
            if session.closing:
                if session.taken == REQUEST_CLOSE:
                    if not session.inflight and not self.core.groups_of(session.ident):
                        clients.remove(session)
                else:
                    # The end that was under way was not accepted.
                    session.closing = False
                    clients.close(session, finish=False)
        self._opening_until_s = None
        clients.get_ready()

    # The log.

    def _log(self, log: totem_reader.Log) -> None:
        entries = log.entries
        first = self.core.n + 1
        if log.first > first:
            # Something was lost on the way.
            self.hello()
            return
        if log.first < first:
            entries = entries[first - log.first :]
        if not entries:
            return
        core = self.core
        core.apply(entries)
        for n, messages in core.sync_replies:
            self.to_totem.append(totem_reader.encode(totem_reader.SyncReply(self.epoch, n, messages)))
        core.sync_replies.clear()
        self.clients.distribute()
        if core.first_change is not None:
            self._checkpoints.changed(core.first_change)
        size = sum([len(entry[4]) + ENTRY_OVERHEAD_BYTES for entry in entries if entry[0] == totem_reader.MESSAGE])
        self._held.append((core.n, size))
        self._held_bytes += size
        if not self.clients.ready and core.n >= self._head:
            self._be_ready()
        self._check_log()

    def _check_log(self) -> None:
        """Keep sessions from filling totem's log: above half of it who lags most is warned, above 3/4 cut off."""
        bytes_max = self.options.log_bytes_max
        if 2 * self._held_bytes <= bytes_max or (session := self.clients.laggard()) is None:
            return
        self.clients.warn(session, self._held_bytes, bytes_max)
        if 4 * self._held_bytes > 3 * bytes_max:
            self._cut_laggard(session)

    def _cut_laggard(self, session: Session) -> None:
        reason = f"it handles no events while {self._held_bytes} bytes of the log wait for it"
        self.clients.cut(session, Code.NO_RESOURCES, reason)

    def _check_stall(self, now_s: float) -> None:
        """One that is slow may slow the others down, one that handles nothing at all may not: the log goes on without
        it. Its events wait here, up to its own bound. What it loses is that it would survive a kill of this process."""
        is_full = self._held_bytes > STALL_SHARE * self.options.log_bytes_max
        session = self.clients.laggard() if is_full else None
        if session is None:
            self._stalled = None
            return
        standing = (session.ident, session.handled(self.core.n))
        if self._stalled is None or self._stalled[0] != standing:
            self._stalled = standing, now_s + STALL_S
        elif now_s >= self._stalled[1]:
            self._stalled = None
            session.is_detached = True
            self.clients.counters["sessions_detached"] += 1

    # What is due.

    def flush(self, now_s: float) -> None:
        """Make the envelopes that are due now, after things were received and once `due_s` has come."""
        self._flushed_s = now_s
        if not self._welcomed:
            self.clients.flush()
            return
        self._check_stall(now_s)
        self.clients.answers.begin_turn()
        if self.clients.ready:
            self._submit()
        self.clients.flush()
        self._take_snapshot(now_s)
        self._acknowledge(now_s)

    def due_s(self) -> float | None:
        """When `flush` has to be called at the latest, in the time that it is given; None: no need."""
        answers = self.clients.answers
        if answers.were_held_back and not answers.is_congested and not self.clients.frames:
            return 0.0
        dues = [self._ack_due_s, None if self._stalled is None else self._stalled[1]]
        if answers.is_congested:
            dues.append(self._flushed_s + CONGESTED_S)
        if self.core.first_change is not None and self.core.settled:
            dues.append(0.0 if self._packing_turns else self._snapshot_at_s)
        return min((due for due in dues if due is not None), default=None)

    def _take_snapshot(self, now_s: float) -> None:
        """Take a snapshot if the groups have changed. To pack a large table takes long, so the next one waits in
        proportion; it does not wait while a good part of the log can only be freed by it. Rows are packed ahead of
        it, some in each turn."""
        core = self.core
        turns, self._packing_turns = self._packing_turns, 0
        if core.first_change is None or not core.settled:
            return
        if not turns and now_s < self._snapshot_at_s and 4 * self._held_bytes < self.options.log_bytes_max:
            return
        if not core.table.pack_some(ROWS_PER_TURN) and turns < PACKING_TURNS_MAX:
            self._packing_turns = turns + 1
            return
        data = core.snapshot()
        self._snapshot_at_s = now_s + len(data) * SNAPSHOT_S_PER_BYTE
        self._checkpoints.add(core.n, data)
        core.first_change = None

    def _submit(self) -> None:
        while True:
            requests, cost = self.clients.next_requests(self.credit - self._submitted)
            if not requests:
                return
            self._submitted += cost
            self.to_totem.append(totem_reader.encode(totem_reader.Submit(self.epoch, requests)))

    def _acknowledge(self, now_s: float) -> None:
        clients = self.clients
        n = self.acked if self._is_opening(now_s) else self._checkpoints.best(clients.handled())
        urgent = clients.changed or bool(clients.gone)
        if n <= self.acked and not urgent:
            self._ack_due_s = self._opening_until_s if clients.awaited else None
            return
        if not urgent and not self._ack_is_worth(n):
            if self._ack_due_s is None:
                self._ack_due_s = now_s + ACK_DELAY_S
            if now_s < self._ack_due_s:
                return
        self._ack_due_s = None
        n = max(n, self.acked)
        snapshot = self._checkpoints.take(n)
        kept = self.core.assembly.needed_at(n)
        table = pack_table(clients.table) if clients.changed else None
        self.to_totem.append(totem_reader.encode(totem_reader.Ack(self.epoch, n, snapshot, table, kept, clients.gone)))
        clients.gone = []
        clients.changed = False
        self.acked = clients.core_floor = n
        self.core.assembly.forget(n)
        self.core.rings = [event for event in self.core.rings if event[0] > n]
        while self._held and self._held[0][0] <= n:
            self._held_bytes -= self._held.popleft()[1]

    def _is_opening(self, now_s: float) -> bool:
        if not self.clients.ready:
            return True
        awaited = self.clients.awaited
        if awaited:
            if self._opening_until_s is None:
                self._opening_until_s = now_s + OPENING_S_MAX
            if now_s >= self._opening_until_s:
                awaited.clear()
        return bool(awaited)

    def _ack_is_worth(self, n: int) -> bool:
        if self._held_bytes < ACK_BYTES:
            return False  # as nearly always, and the batches may be hundreds of small ones
        size = 0
        for last, batch_bytes in self._held:
            if last > n:
                return False
            size += batch_bytes
            if size >= ACK_BYTES:
                return True
        return False

    def status(self) -> dict[str, Any]:
        """For the control socket."""
        core = self.core
        ring = core.ring
        return {
            "state": str(self.state),
            "epoch": self.epoch,
            "node_id": core.node_id,
            "position": core.n,
            "acked": self.acked,
            "held_bytes": self._held_bytes,
            "sessions": len(self.clients.table),
            "users": self.clients.accounts.told(),
            "functions": core.functions,
            "ring": None
            if ring is None
            else {"representative": ring[0], "sequence": ring[1], "members": list(ring[2])},
            "groups": [
                {
                    "group": group.name.decode(errors="backslashreplace"),
                    "members": [{"node": node, "pid": pid} for node, pid in group.members],
                    "messages": group.messages,
                    "message_bytes": group.message_bytes,
                }
                for group in core.table
            ],
            "counters": {
                **self.clients.counters,
                "malformed_messages": core.malformed,
                "long_messages_dropped": core.assembly.dropped,
                "out_of_step": core.out_of_step,
            },
        }
