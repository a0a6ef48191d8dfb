"""The groups as a function of the log: a state machine that the same entries always bring to the same state and events.

It knows nothing of sessions but their ids, which stand in the tags of this node's own messages, and does no I/O. What
happens when a message is delivered:

- PROCJOIN, PROCLEAVE: the process joins or leaves, and every member of the group on this node is told, the leaver too.
- MCAST: goes to the members on this node, if the sending node has a member in the group.

**Sync.** A ring change runs TRANSITIONAL, REGULAR, SYNC_STEP, SYNC_ACTIVATE, SYNC_COMPLETE. In its step every node
multicasts a DOWNLIST (for the log) and its own processes' memberships (JOINLIST). On activation, group by group: (a)
processes of nodes that are not in the transitional configuration leave (nodedown); (b) processes of other nodes'
joinlists that are not known join (nodeup); (c) known processes of other nodes that no joinlist has leave (procdown);
(d) sessions are told of the ring. If the ring changes before that, what was collected is discarded: only joinlists of
the ring that completes count, or processes that died meanwhile would stay for ever. If a long message of this node is
half ordered, its step also gives the ordered parts again, for the members that missed them.

Between REGULAR and SYNC_COMPLETE joins, leaves and messages are held back, because the membership is not agreed yet:
nothing of the new ring is delivered before its sync is complete. If it never completes, they are evaluated when the
next ring replaces it, before that ring's joinlists are made, which then include them.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

from rondo.protocol import events, totem_reader
from rondo.protocol.batch import MCAST_DATA_AT
from rondo.protocol.codes import Code
from rondo.protocol.envelope import BusError, pack, unpack
from rondo.protocol.events import Reason
from rondo.protocol.requests import REQUEST_CLOSE
from rondo.protocol.totem_reader import Entry, Tag
from services.cpg import wire
from services.cpg.assembly import Assembly
from services.cpg.groups import Group, GroupTable, Member

Ring = tuple[int, int, tuple[int, ...]]
"""(representative, sequence, members)"""

_SNAPSHOT_VERSION: Final = 1
FUNCTIONS: Final = 7
"""Corosync's, from 0."""


class Core:
    """The state of all groups as of one position of the log."""

    def __init__(self, node_id: int) -> None:
        self.node_id = node_id
        self.n = 0
        """Position up to which the log was evaluated."""
        self.table = GroupTable()
        self.assembly = Assembly()
        self.ring: Ring | None = None
        """The ring of the last completed cpg sync."""
        self.syncing = False
        """From REGULAR to SYNC_COMPLETE."""
        self.version = 0
        """Counts the changes of the groups and the ring: what was made of them is good as long as this is the same."""
        self.first_change: int | None = None
        """Position of the first change of what `snapshot` holds since the caller reset this."""

        self.out: defaultdict[int, list[list[Any]]] = defaultdict(list)
        """Events by session; the caller empties it."""
        self.sync_replies: list[tuple[int, list[bytes]]] = []
        """(position of the step, messages); the caller empties it."""
        self.ordered: dict[int, int] = {}
        """By session: the last of its requests seen in the log. The caller removes what it does not need."""
        self.failed: set[int] = set()
        """Sessions of which an accepted request had no effect; the caller empties it."""
        self.ring_listeners: set[int] = set()
        """Sessions that want ring events; the caller keeps it."""
        self.rings: list[list[Any]] = []
        """Ring events, for sessions that turn up later; the caller prunes it."""
        self.malformed = 0
        """Messages of other nodes that were dropped because they are no messages of CPG."""

        self.functions = [[0, 0] for _ in range(FUNCTIONS)]
        """Messages of this node, and of all nodes, by function, as Corosync counts them; a batch is one message."""
        self.out_of_step = 0
        """Activations of a ring that never began here."""

        self._ring_next: Ring | None = None
        self._staying: set[int] | None = None
        """Nodes that were in every transitional configuration since the last activation; None = there was none."""
        self._joinlists: defaultdict[int, set[tuple[int, bytes]]] = defaultdict(set)
        self._held: list[tuple[int, Entry]] = []
        self._handlers = {
            totem_reader.TRANSITIONAL: self._transitional,
            totem_reader.REGULAR: self._regular,
            totem_reader.SYNC_STEP: self._sync_step,
            totem_reader.SYNC_ACTIVATE: self._sync_activate,
            totem_reader.SYNC_ABORT: self._sync_abort,
            totem_reader.SYNC_COMPLETE: self._sync_complete,
            totem_reader.SKIP: self._skip,
        }

    def apply(self, entries: list[Entry]) -> None:
        """Evaluate the entries that follow position `n`."""
        n = self.n
        own = plain = 0
        groups = self.table.groups
        fields_of = wire.MCAST_FIELDS.unpack_from
        for entry in entries:
            n += 1
            if entry[0] == totem_reader.MESSAGE:
                data = entry[4]
                # Nearly everything is a plain message: no object is made for it, and it is looked at only once.
                if data[:4] == wire.MCAST_ID and len(data) >= MCAST_DATA_AT and not self.syncing:
                    name_length, length, pid = fields_of(data, 16)
                    end = MCAST_DATA_AT + length
                    if name_length <= wire.NAME_BYTES_MAX and end <= len(data):
                        group = groups.get(data[wire.NAME_AT : wire.NAME_AT + name_length])
                        payload = data[MCAST_DATA_AT:end] if length <= 4096 else memoryview(data)[MCAST_DATA_AT:end]
                        self._deliver(n, entry, group, pid, payload)
                        plain += 1
                        if entry[2] is not None:
                            own += 1
                        continue
                self._count(entry)
                self._message(n, n, entry)
            else:
                self._handlers[entry[0]](n, entry)
        self.n = n
        counts = self.functions[wire.Function.MCAST]
        counts[0] += own
        counts[1] += plain

    # Messages.

    def _count(self, entry: Entry) -> None:
        function = int.from_bytes(entry[4][:2], "little")
        if function >= FUNCTIONS:
            function = int(wire.Function.MCAST)  # a batch; C nodes send nothing else
        counts = self.functions[function]
        counts[0] += entry[1] == self.node_id
        counts[1] += 1

    def _message(self, at: int, n: int, entry: Entry) -> None:
        """Evaluate the message at position `at` now, at position n."""
        try:
            message = wire.decode(entry[4])
        except wire.WireError:
            self.malformed += 1
            return
        if isinstance(message, wire.JoinList):
            if self.syncing:
                self._joinlists[entry[1]].update(message.entries)
        elif message is None or isinstance(message, wire.DownList):
            return
        elif isinstance(message, wire.PartialMcast) and message.again:
            # Who was with the sender all the time has these parts.
            if self.syncing and (self.ring is None or self._staying is None or entry[1] not in self._staying):
                self.assembly.add(at, n, entry[1], message)
        elif self.syncing:
            self._held.append((at, entry))
        elif isinstance(message, wire.Mcast):
            self._deliver(n, entry, self.table.groups.get(message.group), message.pid, message.data)
        elif isinstance(message, wire.Batch):
            self._deliver_batch(n, entry, message)
        elif isinstance(message, wire.PartialMcast):
            whole = self.assembly.add(at, n, entry[1], message)
            if whole is not None:
                self._deliver(n, entry, self.table.groups.get(message.group), message.pid, whole)
            elif entry[2] is not None and entry[2][2] == 0:
                self._failed(n, entry[2], Code.MESSAGE_ERROR)
        elif isinstance(message, wire.ProcJoin):
            self._proc_join(n, entry, message)
        else:
            self._proc_leave(n, entry, message)

    def _deliver(self, n: int, entry: Entry, group: Group | None, pid: int, data: bytes | memoryview) -> None:
        _, sender, tag, transitional, _ = entry
        out = self.out
        if tag is None:
            if group is not None and sender in group.nodes:
                event = [n, events.MESSAGE, group.name, sender, pid, transitional, data, None]
                group.messages += 1
                group.message_bytes += len(data)
                for session in group.local:
                    out[session].append(event)
            return
        own, request, _ = tag
        self.ordered[own] = request
        if group is None or sender not in group.nodes or own not in group.local:
            self._failed(n, tag, Code.NOT_EXIST)
        if group is not None and sender in group.nodes:
            event = [n, events.MESSAGE, group.name, sender, pid, transitional, data, None]
            group.messages += 1
            group.message_bytes += len(data)
            for session in group.local:
                out[session].append(event if session != own else [*event[:7], request])

    def _deliver_batch(self, n: int, entry: Entry, batch: wire.Batch) -> None:
        """Like as many messages, at one position."""
        _, sender, tag, transitional, _ = entry
        group = self.table.groups.get(batch.group)
        if tag is not None:
            own, last, _ = tag
            self.ordered[own] = last
            if group is None or sender not in group.nodes or own not in group.local:
                for request in range(last - batch.messages + 1, last + 1):
                    self._failed(n, [own, request, 0], Code.NOT_EXIST)
        if group is None or sender not in group.nodes:
            return
        group.messages += batch.messages
        group.message_bytes += batch.payload_bytes
        event = [n, events.BATCH, group.name, sender, batch.pid, transitional, batch.body]
        for session in group.local:
            first = tag[1] - batch.messages + 1 if tag is not None and tag[0] == session else None
            self.out[session].append([*event, first])

    def _failed(self, n: int, tag: Tag, code: Code) -> None:
        self._seen(tag)
        self.failed.add(tag[0])
        if tag[1] != REQUEST_CLOSE:
            self.out[tag[0]].append([n, events.FAILED, tag[1], int(code)])

    def _seen(self, tag: Tag) -> None:
        """A message of a request of ours is in the log; the request is, once no more of them follow."""
        if tag[2] == 0:
            self.ordered[tag[0]] = tag[1]

    def _proc_join(self, n: int, entry: Entry, message: wire.ProcJoin) -> None:
        _, sender, tag, _, _ = entry
        member = (sender, message.pid)
        group = self.table.add(message.group, member)
        if group is None:
            if tag is not None:
                self._failed(n, tag, Code.EXIST)
            return
        self._changed(n)
        if tag is not None:
            self._seen(tag)
            self.table.admit(group, tag[0], message.pid)
        self._tell(n, group, joined=[(*member, Reason.JOIN)], tag=tag)

    def _proc_leave(self, n: int, entry: Entry, message: wire.ProcLeave) -> None:
        _, sender, tag, _, _ = entry
        member = (sender, message.pid)
        self.assembly.drop(n, (sender, message.pid, message.group))
        group = self.table.remove(message.group, member)
        if group is None:
            if tag is not None:
                self._failed(n, tag, Code.NOT_EXIST)
            return
        self._changed(n)
        if tag is not None:
            self._seen(tag)
        reason = Reason(message.reason) if message.reason in (Reason.LEAVE, Reason.PROCDOWN) else Reason.UNDEFINED
        # The one who leaves is told as well: it is the last that it hears of the group.
        self._tell(n, group, left=[(*member, reason)], tag=tag)
        if sender == self.node_id:
            self.table.dismiss(group, message.pid)

    def _tell(
        self,
        n: int,
        group: Group,
        joined: list[tuple[int, int, int]] | None = None,
        left: list[tuple[int, int, int]] | None = None,
        tag: Tag | None = None,
    ) -> None:
        """Tell the group's members on this node what changed."""
        if not group.local:
            return
        event = [n, events.MEMBERSHIP, group.name, list(group.members), joined or [], left or [], None]
        for session in group.local:
            own = tag is not None and tag[0] == session and tag[1] != REQUEST_CLOSE
            self.out[session].append([*event[:6], tag[1]] if own and tag is not None else event)

    def _changed(self, n: int) -> None:
        self.version += 1
        if self.first_change is None:
            self.first_change = n

    # Ring changes.

    def _transitional(self, n: int, entry: Entry) -> None:
        self._changed(n)
        members = set(entry[3])
        self._staying = members if self._staying is None else self._staying & members

    def _regular(self, n: int, entry: Entry) -> None:
        self._changed(n)
        # What the ring that ends here held back is due before this ring's joinlists are made.
        self._release(n)
        self._joinlists.clear()
        if self._staying is not None:
            self.assembly.drop_nodes(n, self._staying)
        (representative, sequence), members = entry[1], entry[2]
        self._ring_next = (representative, sequence, tuple(members))
        self.syncing = True

    def _sync_step(self, n: int, _: Entry) -> None:
        own = [(pid, group.name) for group in self.table for pid in sorted(group.local.values())]
        old = self.ring[2] if self.ring is not None else ()
        left = [node for node in old if self._staying is not None and node not in self._staying]
        messages = [wire.encode_down_list(len(old), left), *wire.encode_join_lists(own)]
        # These parts go into every ring change, even if all members of the new ring come from the old one: one of them
        # may have a cpg without history, and no other node can tell. Whoever has the parts ignores them.
        for (node, pid, name), total, data in self.assembly.unfinished_of(self.node_id):
            messages.extend(wire.encode_parts_again(name, node, pid, total, data))
        self.sync_replies.append((n, messages))

    def _skip(self, n: int, _: Entry) -> None:
        """Not for cpg."""

    def _sync_abort(self, n: int, _: Entry) -> None:
        """Nothing is to be done: the next ring discards what was collected for this one."""

    def _sync_activate(self, n: int, entry: Entry) -> None:
        ring = self._ring_next
        if ring is None or list(ring[:2]) != entry[1]:
            self.out_of_step += 1
            return
        self._changed(n)
        if self._staying is not None:
            staying = self._staying
            for group in self.table:
                self._remove(n, group, [m for m in group.members if m[0] not in staying], Reason.NODEDOWN)
        self._add_joinlists(n)
        for group in self.table:
            missing = [
                (node, pid)
                for node, pid in group.members
                if node != self.node_id and (pid, group.name) not in self._joinlists.get(node, ())
            ]
            self._remove(n, group, missing, Reason.PROCDOWN)
        self._staying = None
        self._joinlists.clear()
        self.ring = ring
        event = [n, events.RING, ring[0], ring[1], list(ring[2])]
        self.rings.append(event)
        for session in self.ring_listeners:
            self.out[session].append(event)

    def _add_joinlists(self, n: int) -> None:
        came: defaultdict[bytes, list[Member]] = defaultdict(list)
        for node, entries in self._joinlists.items():
            if node != self.node_id:
                for pid, name in entries:
                    if self.table.add(name, (node, pid)) is not None:
                        came[name].append((node, pid))
        for group in self.table:
            if group.name in came:
                self._tell(n, group, joined=[(*m, Reason.NODEUP) for m in sorted(came[group.name])])

    def _remove(self, n: int, group: Group, members: list[Member], reason: Reason) -> None:
        if members:
            for member in members:
                self.table.remove(group.name, member)
                if reason == Reason.PROCDOWN:
                    # What nodes that are down left unfinished went when the ring began; since then they may have
                    # come back and said it again.
                    self.assembly.drop(n, (*member, group.name))
            self._tell(n, group, left=[(*m, reason) for m in members])

    def _sync_complete(self, n: int, _: Entry) -> None:
        self._changed(n)
        self._release(n)

    def _release(self, n: int) -> None:
        """End the sync, and evaluate what it held back."""
        self.syncing = False
        held, self._held = self._held, []
        for at, entry in held:
            self._message(at, n, entry)

    # Snapshots.

    @property
    def settled(self) -> bool:
        """Whether there is no ring change under way, so that a snapshot tells all."""
        return not self.syncing and self._staying is None

    def snapshot(self) -> bytes:
        """The state at `n`, unfinished long messages excepted: the log keeps their parts. Only when `settled`."""
        ring = None if self.ring is None else [self.ring[0], self.ring[1], list(self.ring[2])]
        return b"\x93" + pack(_SNAPSHOT_VERSION) + pack(ring) + self.table.snapshot()

    def restore(self, snapshot: bytes, n: int) -> None:
        """Take over the state of a snapshot that is good for position n. Raises `BusError`."""
        try:
            version, ring, table = unpack(snapshot)
            if version != _SNAPSHOT_VERSION:
                raise BusError(f"snapshot of version {version}")
            self.ring = None if ring is None else (ring[0], ring[1], tuple(ring[2]))
            self.table = GroupTable.restore(table)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise BusError(f"not a snapshot: {error}") from None
        self.n = n

    def restore_part(self, at: int, entry: Entry) -> None:
        """Take in again a part of a long message that was unfinished at the position of the snapshot."""
        if entry[0] == totem_reader.MESSAGE:
            message = wire.decode(entry[4])
            if isinstance(message, wire.PartialMcast):
                self.assembly.add(at, at, entry[1], message)

    def is_in(self, session: int, group: bytes) -> bool:
        """Whether the session is in the group."""
        found = self.table.groups.get(group)
        return found is not None and session in found.local

    def groups_of(self, session: int) -> dict[bytes, int]:
        """The groups in which the session is, with its pid."""
        return self.table.of_session(session)
