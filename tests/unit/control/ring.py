"""Votequorum nodes in rings without a ring: what totem would tell them is told here, in the same order.

`Cluster.form` installs a ring of some nodes: the services' start messages, the sync with its two steps, and the
activation. A ring can be cut off in the middle (`stop_after`), as happens when the next one comes too soon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from services.control.quorum.events import Event, Ring
from services.control.quorum.settings import Options, Settings, settle
from services.control.quorum.status import Info, info
from services.control.quorum.votequorum import Votequorum

SECOND_NS = 1_000_000_000


def options(**written: object) -> Options:
    """A section quorum{} with these keys."""
    return Options("corosync_votequorum", **written)  # type: ignore[arg-type]


@dataclass
class Member:
    """A running node."""

    votes: Votequorum
    ring: int = 0
    """The number of its ring; 0: none yet."""
    lives: int = 1
    events: list[Event] = field(default_factory=list)


class Cluster:
    """Nodes, their configuration, and a clock."""

    def __init__(self, nodelist: dict[int, int], written: Options | None = None) -> None:
        """`nodelist`: votes by node id. `written`: quorum{} of all nodes."""
        self.nodelist = nodelist
        self.written = written or options()
        self.now_ns = SECOND_NS
        self.members: dict[int, Member] = {}
        self.rings = 0
        self.ring_members: dict[int, tuple[int, ...]] = {}
        self.stored: dict[int, int] = {}
        """The barrier of expected_votes_tracking on the disk of each node."""
        self.make: Callable[[int, Settings, int], Votequorum] = Votequorum

    def start(self, *nodes: int) -> None:
        """Start nodes. They are in no ring yet."""
        for node in nodes:
            stored = self.stored.get(node, 0)
            settings, _ = settle(self.written, node, self.nodelist, stored)
            self.members[node] = Member(self.make(node, settings, stored))
            self.members[node].votes.start()

    def kill(self, *nodes: int) -> None:
        """Kill nodes. The others have not noticed it yet."""
        for node in nodes:
            del self.members[node]

    def form(self, *nodes: int, stop_after: int | None = None, heard_before_sync: bool = False) -> bool:
        """A ring of these nodes, running ones. `stop_after`: messages of the sync that are delivered before it is cut
        off. `heard_before_sync`: what nodes had sent before comes before anybody tells its votes. False if it was cut
        off."""
        self.rings += 1
        number, group = self.rings, sorted(nodes)
        self.ring_members[number] = tuple(group)
        ring = Ring(group[0], 4 * number)
        for node in group:
            self.members[node].ring = number
            self.members[node].votes.sync_init(ring, group, self.now_ns)
        queue = [(node, data) for node in group for data in self._take(node)]
        if heard_before_sync:
            for sender, data in queue:
                self._deliver(group, sender, data)
            queue = []
        queue += [(node, data) for node in group for data in self.members[node].votes.sync_step()]
        is_cut = stop_after is not None and stop_after < len(queue)
        for sender, data in queue[:stop_after] if is_cut else queue:
            self._deliver(group, sender, data)
        if is_cut:
            return False
        for node in group:
            self.members[node].votes.sync_activate()
        self.deliver()
        return True

    def revive(self, node: int) -> None:
        """Kill the process of a node, and start it again with its snapshot."""
        member = self.members[node]
        fresh = type(member.votes).restore(member.votes.snapshot())
        fresh.outbox, fresh.events = member.votes.outbox, member.votes.events
        member.votes = fresh

    def split(self, *sides: Iterable[int]) -> None:
        """Form a ring on each side."""
        for side in sides:
            self.form(*side)

    def deliver(self) -> None:
        """Deliver what nodes have sent in their rings since."""
        while any(member.votes.outbox for member in self.members.values()):
            for node in sorted(self.members):
                for data in self._take(node):
                    number = self.members[node].ring
                    self._deliver([n for n, each in self.members.items() if each.ring == number], node, data)
        for node, member in self.members.items():
            member.events += member.votes.events
            member.votes.events.clear()
            self.stored[node] = max(self.stored.get(node, 0), member.votes.tracking_barrier)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ns += int(seconds * SECOND_NS)
        for member in self.members.values():
            member.votes.advance(self.now_ns)
        self.deliver()

    def leave(self, node: int) -> None:
        """A clean stop: the goodbye of votequorum is delivered, and the others form a ring."""
        rest = [n for n, each in self.members.items() if each.ring == self.members[node].ring and n != node]
        self.members[node].votes.leave()
        self.deliver()
        self.kill(node)
        if rest:
            self.form(*rest)

    def info(self, node: int) -> Info:
        """The status of a node."""
        found = info(self.members[node].votes, 0)
        assert found is not None
        return found

    def shows(self, node: int) -> tuple[int, int, int, int, bool]:
        """The line of corosync-quorumtool: expected, highest expected, total votes, quorum, quorate."""
        found = self.info(node)
        numbers = (found.expected_votes, found.highest_expected, found.total_votes, found.quorum)
        return (*numbers, self.members[node].votes.quorate)

    def _take(self, node: int) -> list[bytes]:
        votes = self.members[node].votes
        taken, votes.outbox = votes.outbox, []
        return taken

    def _deliver(self, group: Iterable[int], sender: int, data: bytes) -> None:
        for node in group:
            self.members[node].votes.message(sender, data)
