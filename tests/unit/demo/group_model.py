"""A process group in a few lines: components that each deliver one order of messages and memberships to their members.

It stands in for the network and the executive, so that thousands of schedules of crashes, splits and merges can be
tried on the replicas of the ledger, which do no I/O.
"""

import json
import random
from collections import deque

import rondo
from rondo.demo.replicated_ledger import ACCOUNTS, Replica


class Component:
    """Nodes that can reach each other, and what was sent and not delivered yet."""

    def __init__(self, members: set[rondo.Member]) -> None:
        self.members = members
        self.queue: deque[tuple[rondo.Member, bytes]] = deque()


class Group:
    """All components of one group, and the replicas in them."""

    def __init__(self, nodes: int, seed: int) -> None:
        self.nodes = frozenset(range(1, nodes + 1))
        self.random = random.Random(seed)
        self.components: list[Component] = []
        self.replicas: dict[rondo.Member, Replica] = {}
        self.confirmed: list[str] = []
        """All that any replica was told is done, of killed ones too."""
        self._pids = 0
        self._transfers = 0

    # -- what happens to the nodes

    def start(self, node: int) -> None:
        """A process on a node that has none: alone at first."""
        self._pids += 1
        me = rondo.Member(node, self._pids)
        self.replicas[me] = Replica(me, self.nodes)
        component = Component({me})
        self.components.append(component)
        self._tell_membership(component, {me}, set())

    def kill(self, me: rondo.Member) -> None:
        """The others see it leave; what it had sent is still delivered."""
        component = self.component_of(me)
        del self.replicas[me]
        component.members.discard(me)
        if component.members:
            self._tell_membership(component, set(), {me})
        else:
            self.components.remove(component)

    def split(self, component: Component, part: set[rondo.Member]) -> None:
        """What was on its way is delivered where its sender is, maybe on the other side too; then each goes on."""
        rest = component.members - part
        self.components.remove(component)
        for side, gone in ((part, rest), (rest, part)):
            new = Component(side)
            self.components.append(new)
            for sender, data in component.queue:
                if sender in side or self.random.random() < 0.5:
                    self._tell_message(new, sender, data, rondo.Configuration.TRANSITIONAL)
            self._tell_membership(new, set(), gone)

    def merge(self, one: Component, other: Component) -> None:
        """Each side sees the other join; what was on its way is delivered after that."""
        self.components.remove(other)
        before = {each: set(side.members) for side in (one, other) for each in side.members}
        one.members = one.members | other.members
        one.queue.extend(other.queue)
        for each in sorted(one.members):
            joined = one.members - before[each]
            self._handle(one, each, membership(one.members, joined, set()))

    def deliver(self, component: Component) -> None:
        """The next message, to all members."""
        sender, data = component.queue.popleft()
        self._tell_message(component, sender, data, rondo.Configuration.REGULAR)

    def wish_transfer(self, me: rondo.Member) -> None:
        """One more transfer, if this replica has a ledger."""
        replica = self.replicas[me]
        if replica.ledger is not None:
            self._transfers += 1
            source, target = self.random.sample(ACCOUNTS, 2)
            replica.wish_transfer(f"{me.node}.{me.pid}.{self._transfers}", source, target, self.random.randint(1, 400))
            self._collect(self.component_of(me), me)

    # -- how they are told

    def _tell_message(
        self, component: Component, sender: rondo.Member, data: bytes, configuration: rondo.Configuration
    ) -> None:
        for each in sorted(component.members):
            self._handle(component, each, rondo.Message("ledger", sender, data, configuration, None))

    def _tell_membership(self, component: Component, joined: set[rondo.Member], left: set[rondo.Member]) -> None:
        for each in sorted(component.members):
            self._handle(component, each, membership(component.members, joined, left))

    def tell(self, me: rondo.Member, *events: rondo.Event) -> None:
        """Something that concerns one process alone."""
        for event in events:
            self._handle(self.component_of(me), me, event)

    def _handle(self, component: Component, me: rondo.Member, event: rondo.Event) -> None:
        self.replicas[me].handle(event)
        self._collect(component, me)

    def _collect(self, component: Component, me: rondo.Member) -> None:
        replica = self.replicas[me]
        component.queue.extend((me, json.dumps(wish).encode()) for wish in replica.outbox)
        replica.outbox.clear()
        self.confirmed += replica.confirmed
        replica.confirmed = []

    # -- who is where

    def component_of(self, me: rondo.Member) -> Component:
        """Where a member is."""
        return next(each for each in self.components if me in each.members)

    def member_on(self, node: int) -> rondo.Member | None:
        """The process on a node, if one runs."""
        return next((each for each in self.replicas if each.node == node), None)

    def settle(self) -> None:
        """All nodes run, all reach each other, and everything is delivered."""
        for node in sorted(self.nodes):
            if self.member_on(node) is None:
                self.start(node)
        while len(self.components) > 1:
            self.merge(self.components[0], self.components[1])
        for _ in range(100_000):
            if not self.components[0].queue:
                return
            self.deliver(self.components[0])
        raise AssertionError("the replicas do not come to rest")


def membership(members: set[rondo.Member], joined: set[rondo.Member], left: set[rondo.Member]) -> rondo.Membership:
    """The event that tells it."""
    return rondo.Membership(
        "ledger",
        tuple(sorted(members)),
        tuple(rondo.Change(each, rondo.Reason.NODEUP) for each in sorted(joined)),
        tuple(rondo.Change(each, rondo.Reason.NODEDOWN) for each in sorted(left)),
    )
