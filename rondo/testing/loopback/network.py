"""The network of a loopback: nodes in rings, processes in groups, and what happens to them, without time or threads.

What happens next is drawn from a seed, among what may happen by the rules of extended virtual synchrony: so the same
seed and the same calls give the same events. `settle` goes on until nothing is left to happen.

At a ring change the nodes that go from one ring to the next together have the same messages. SAFE ones that are not
known to be everywhere are delivered as transitional, and so is all that comes after them.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from rondo.events import Change, Configuration, Member, Membership, Message, Reason, Ring, RingChange
from rondo.testing.loopback.ring import LoopbackRing, Parcel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rondo.testing.loopback.session import LoopbackRequest, Session

RING_SEQUENCE_STEP = 4
FIRST_PID = 1001


class Network:
    """All of it. Not for several threads at once: its owner has a lock."""

    def __init__(self, nodes: Iterable[int], seed: int) -> None:
        self.nodes = frozenset(nodes)
        self.random = random.Random(seed)
        self.sessions: list[Session] = []
        self.up = set(self.nodes)
        self.rings: dict[int, LoopbackRing] = {}
        self._sides: list[frozenset[int]] = [self.nodes]
        self._sequences = dict.fromkeys(self.nodes, 0)
        """By node: the highest ring sequence that it knows, which survives its death."""
        self._tables: dict[int, dict[str, dict[Member, Session]]] = {node: {} for node in self.nodes}
        """By node: who is in which group, as it knows."""
        self._last_pid = FIRST_PID - 1
        self._form([self.nodes])

    # -- processes -----------------------------------------------------------------------------------------------

    def next_member(self, node: int) -> Member:
        """The identity of a new process."""
        self._last_pid += 1
        return Member(node, self._last_pid)

    def join(self, session: Session, name: str) -> None:
        """A process asks to be in a group."""
        self._put(Parcel("join", name, session.member, session.member.node, session=session))

    def mcast(self, session: Session, name: str, data: bytes, is_safe: bool, request: LoopbackRequest | None) -> None:
        """A process sends a message."""
        node = session.member.node
        self._put(Parcel("message", name, session.member, node, data, is_safe, request, session=session))

    def out(self, session: Session, name: str, reason: Reason) -> None:
        """A process leaves a group, or its node takes it for dead."""
        self._put(Parcel("out", name, session.member, session.member.node, reason=reason, session=session))

    def lose(self, session: Session) -> None:
        """A process is gone for its node. What it has sent and what is not ordered may be lost, from some point on."""
        node = session.member.node
        if node not in self.up:
            return
        ring = self.rings[node]
        own = [parcel for parcel in ring.on_the_way if parcel.session is session]
        lost = own[self.random.randint(0, len(own)) :]
        for parcel in lost:
            ring.on_the_way.remove(parcel)
        # A join that is ordered and not delivered yet counts too: the order decides.
        for name in sorted(session.groups):
            self.out(session, name, Reason.PROCDOWN)

    def _put(self, parcel: Parcel) -> None:
        if parcel.node in self.up:
            self.rings[parcel.node].on_the_way.append(parcel)

    def groups_of(self, node: int) -> list[tuple[str, tuple[Member, ...]]]:
        """The groups that a node knows, and their members."""
        return [(name, tuple(sorted(members))) for name, members in sorted(self._tables[node].items()) if members]

    def is_quorate(self, node: int) -> bool:
        """Whether its ring has most of all nodes."""
        return node in self.up and 2 * len(self.rings[node].nodes) > len(self.nodes)

    # -- what happens --------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Let one thing happen, drawn from all that may. False if there is none."""
        choices = [(ring, step) for ring in self._all_rings() for step in ring.steps()]
        if not choices:
            return False
        ring, (what, node) = self.random.choice(choices)
        if what == "order":
            ring.order()
        elif what == "receive":
            ring.received[node] += 1
        else:
            self._deliver(ring, node, Configuration.REGULAR)
            ring.forget_delivered()
        return True

    def settle(self) -> None:
        """Let everything happen that is under way."""
        while self.step():
            pass

    def settle_in_order(self) -> None:
        """The same, without drawing: each message in turn, at each node in turn."""
        for ring in self._all_rings():
            while ring.on_the_way:
                ring.order()
            for node in sorted(ring.nodes):
                ring.received[node] = len(ring.log)
            for node in sorted(ring.nodes):
                while ring.delivered[node] < len(ring.log):
                    self._deliver(ring, node, Configuration.REGULAR)
            ring.forget_delivered()

    def _all_rings(self) -> list[LoopbackRing]:
        return list({id(self.rings[node]): self.rings[node] for node in sorted(self.up)}.values())

    def _deliver(self, ring: LoopbackRing, node: int, configuration: Configuration) -> None:
        parcel = ring.log[ring.delivered[node]]
        ring.delivered[node] += 1
        members = self._tables[node].setdefault(parcel.group, {})
        own = parcel.session if parcel.node == node else None
        if parcel.kind == "message":
            if parcel.member not in members:
                return
            number = self._ordered(parcel, node)
            for member, session in sorted(members.items(), key=lambda item: item[0]):
                if member.node == node:
                    mine = number if session is own else None
                    session.tell(parcel.group, Message(parcel.group, parcel.member, parcel.data, configuration, mine))
                    session.changed()
        elif parcel.kind == "join" and parcel.member not in members and parcel.session is not None:
            self._joins(node, parcel, own)
        elif parcel.kind == "out" and parcel.member in members and parcel.reason is not None:
            self._tell(node, parcel.group, left=[Change(parcel.member, parcel.reason)])
            if own is not None and parcel.reason is Reason.LEAVE and parcel.group in own.groups:
                own.leave(parcel.group)
                own.changed()

    def _joins(self, node: int, parcel: Parcel, own: Session | None) -> None:
        assert parcel.session is not None
        if own is not None:
            if own.is_over or not own.is_connected or parcel.group not in own.groups:
                return
            own.groups[parcel.group].is_member = True
        self._tables[node][parcel.group][parcel.member] = parcel.session
        self._tell(node, parcel.group, joined=[Change(parcel.member, Reason.JOIN)])

    @staticmethod
    def _ordered(parcel: Parcel, node: int) -> int | None:
        """The own node delivers it: its request is done."""
        request = parcel.request
        if request is None or parcel.node != node or request.is_done:
            return None
        request.is_done = True
        if parcel.session is not None and parcel.group in parcel.session.groups:
            parcel.session.groups[parcel.group].unresolved.pop(request.number, None)
        return request.number

    def _tell(self, node: int, name: str, joined: Iterable[Change] = (), left: Iterable[Change] = ()) -> None:
        """A membership, as this node has it; who leaves is told too, and removed."""
        table, gone = self._tables[node][name], {change.member for change in left}
        members = tuple(sorted(member for member in table if member not in gone))
        event = Membership(name, members, tuple(joined), tuple(left))
        for member in sorted(table):
            if member.node == node:
                table[member].tell(name, event)
                table[member].changed()
        for member in gone:
            del table[member]

    # -- rings ---------------------------------------------------------------------------------------------------

    def split(self, sides: Iterable[Iterable[int]]) -> None:
        """Nodes on different sides do not hear each other; those on none are a side together."""
        named = [frozenset(side) & self.nodes for side in sides]
        rest = self.nodes - frozenset().union(*named)
        self._sides = [side for side in [*named, rest] if side]
        self._form([side & self.up for side in self._sides])

    def node_down(self, node: int) -> None:
        """A node is dead: its processes are cut off, its groups gone."""
        self.up.discard(node)
        self._tables[node] = {}
        for session in self.sessions:
            if session.member.node == node and session.is_connected:
                session.disconnect(f"node {node} is down")
        self._form([side & self.up for side in self._sides])
        self.rings.pop(node, None)

    def node_up(self, node: int) -> None:
        """It is back; its processes join their groups again."""
        self.up.add(node)
        self._form([side & self.up for side in self._sides])
        for session in self.sessions:
            if session.member.node == node and not session.is_over:
                self.back(session)

    def back(self, session: Session) -> None:
        """A process is connected again."""
        session.reconnect()
        for name in sorted(session.groups):
            self.join(session, name)

    def _form(self, sides: Iterable[frozenset[int]]) -> None:
        changed = []
        for side in sides:
            if not side or all(node in self.rings and self.rings[node].nodes == side for node in side):
                continue
            sequence = max(self._sequences[node] for node in side) + RING_SEQUENCE_STEP
            changed.append(LoopbackRing(Ring(min(side), sequence), side))
        before = dict(self.rings)
        for ring in changed:
            together: dict[int, set[int]] = {}
            for node in ring.nodes & before.keys():
                together.setdefault(id(before[node]), set()).add(node)
            for nodes in together.values():
                self._close_old(before[min(nodes)], frozenset(nodes))
        for ring in changed:
            self._install(ring, before)

    def _close_old(self, old: LoopbackRing, together: frozenset[int]) -> None:
        """These nodes go on together: each delivers what any of them has."""
        end = max(old.received[node] for node in together)
        known = max(old.delivered[node] for node in together)
        stable = max(known, self.random.choice((known, old.stable)))  # that all have it may not be known yet
        for node in sorted(together):
            configuration = Configuration.REGULAR
            while old.delivered[node] < end:
                at = old.delivered[node]
                if old.log[at].is_safe and at >= stable:
                    configuration = Configuration.TRANSITIONAL
                self._deliver(old, node, configuration)

    def _install(self, ring: LoopbackRing, before: dict[int, LoopbackRing]) -> None:
        local = {
            node: {
                name: {member: session for member, session in members.items() if member.node == node}
                for name, members in self._tables[node].items()
            }
            for node in ring.nodes
        }
        for node in sorted(ring.nodes):
            old = before.get(node)
            stayed = {each for each in ring.nodes if old is not None and before.get(each) is old}
            self.rings[node] = ring
            self._sequences[node] = ring.ring.sequence
            if old is not None:
                kept = [parcel for parcel in old.on_the_way if parcel.node == node]
                ring.on_the_way.extend(kept)
            self._members_of_ring(node, stayed, local)
            for session in self.sessions:
                if session.member.node == node and session.is_connected:
                    for place in session.groups.values():
                        if place.is_member:
                            place.events.append(RingChange(ring.ring, tuple(sorted(ring.nodes))))
                    session.changed()

    def _members_of_ring(self, node: int, stayed: set[int], local: dict[int, dict[str, dict[Member, Session]]]) -> None:
        """First who left, then who came, as a node tells it."""
        table = self._tables[node]
        for name in sorted(table):
            gone = sorted(member for member in table[name] if member.node not in stayed and member.node != node)
            if gone:
                self._tell(node, name, left=[Change(member, Reason.NODEDOWN) for member in gone])
        for other in sorted(local):
            for name, members in sorted(local[other].items()):
                here = table.setdefault(name, {})
                came = sorted(member for member in members if member not in here)
                here.update(members)
                if came:
                    self._tell(node, name, joined=[Change(member, Reason.NODEUP) for member in came])
