"""Votequorum on the simulated ring: each host counts votes, by the real messages in the real syncs.

Unlike in tests/unit/control/test_partitions.py, configurations, syncs and messages come from the ring itself, under
everything that the plan of a seed does to it. Two things are judged:

- At any time: the ring of a quorate node has more than half of the votes, unless the configuration's own rules allow
  less.
- At the end, when all faults are over and each component of the network is one ring: at most one component is quorate.
  Where nothing excuses an exception, the component with more than half of the votes is quorate, on all of its nodes.

A node that has not yet noticed the end of its ring may still believe that it is quorate. So only the end of a run is
searched for two quorate components.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING

from services.control.quorum.events import QuorumChanged, Ring
from services.control.quorum.settings import settle
from services.control.quorum.votequorum import Votequorum
from services.totem.ring.events import Message, RegularConfiguration, SyncActivate, SyncStep
from services.totem.wire.executive import Service
from tests.simulation.host import Host
from tests.simulation.plan import make_plan
from tests.simulation.run import SeedRun
from tests.simulation.trace import message_id
from tests.unit.control.ring import options

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.control.quorum.settings import Options
    from services.totem.ring.events import Event
    from tests.simulation.plan import NodePlan, Plan

SERVICES = (Service.CMAP, Service.CPG, Service.QUORUM, Service.VOTEQUORUM)
WINDOW_MS = 2000
WINDOW_NS = (WINDOW_MS + 100) * 1_000_000
"""After this long, the window of last_man_standing that a new ring opens is over."""


def configuration(seed: int, nodes: int) -> Options:
    """The quorum{} section of all nodes, drawn from the seed."""
    rng = Random(f"votes {seed}")
    kinds: list[dict[str, object]] = [
        {},
        {},
        {"wait_for_all": True},
        {"last_man_standing": True, "last_man_standing_window_ms": WINDOW_MS},
        {"auto_tie_breaker": True, "wait_for_all": bool(nodes % 2)},
        {"expected_votes_tracking": True},
    ]
    if nodes == 2:
        kinds.append({"two_node": True})
    return options(**rng.choice(kinds))


@dataclass
class Verdict:
    """What was wrong, and the options that excuse two quorate components."""

    violations: list[str] = field(default_factory=list)
    excuses: set[str] = field(default_factory=set)
    quorate_rings: int = 0


class VotingHost(Host):
    """A node that counts votes."""

    run: VotingRun
    votes: Votequorum | None = None

    def _reset(self) -> None:
        super()._reset()
        self.votes = None

    def _counted(self) -> Votequorum:
        """The votequorum of this life of the process. It starts when it is first asked for."""
        if self.votes is None:
            settings, _ = settle(self.run.written, self.node, self.run.nodelist)
            self.votes = self.run.make(self.node, settings, 0)
            self.votes.start()
        return self.votes

    def _handle(self, event: Event) -> None:
        if isinstance(event, Message) and message_id(event.data) is None:
            self._counted().message(event.sender, event.data)
        elif isinstance(event, SyncStep) and event.service == Service.VOTEQUORUM:
            if self.ring is not None:
                self.ring.sync_reply(event.ring, event.service, self._counted().sync_step())
        else:
            super()._handle(event)
        if isinstance(event, RegularConfiguration):
            self._counted().sync_init(Ring(*event.ring), event.members, self.world.now())
            self.later(WINDOW_NS, self._window_is_over)
        elif isinstance(event, SyncActivate) and event.service == Service.VOTEQUORUM:
            self._counted().sync_activate()
        self._take()

    def _window_is_over(self) -> None:
        votes = self._counted()
        before = votes.own.expected_votes
        votes.advance(self.world.now())
        if votes.own.expected_votes < before:
            self.run.verdict.excuses.add("last_man_standing")
        self._take()
        self.settle()

    def _take(self) -> None:
        """Send the messages of votequorum, and judge what it says of quorum."""
        votes, ring = self.votes, self.ring
        if votes is None or ring is None:
            return
        for message in votes.outbox:
            ring.submit(message)
        if votes.outbox:
            ring.flush(self.world.now())
        votes.outbox.clear()
        for event in votes.events:
            if isinstance(event, QuorumChanged) and event.quorate:
                self.run.told(self.node, event)
        votes.events.clear()


class VotingRun(SeedRun):
    """The run of a seed whose nodes count votes."""

    def __init__(self, seed: int, make: Callable[..., Votequorum] = Votequorum, plan: Plan | None = None) -> None:
        plan = plan or make_plan(seed)
        self.make = make
        self.nodelist = dict.fromkeys((node.node for node in plan.nodes), 1)
        self.written = configuration(seed, len(self.nodelist))
        self.verdict = Verdict(excuses={"two_node"} if self.written.two_node else set())
        super().__init__(plan)

    def new_host(self, node: NodePlan) -> VotingHost:
        host = VotingHost(
            self.world, node.node, replace(node.options, sync_services=SERVICES), queue_bytes_max=node.queue_bytes_max,
            separate_sockets=node.separate_sockets, wake_latency_ns=node.wake_latency_ns,
            sync_delay_ns=node.sync_delay_ns, receive_bytes=node.receive_bytes,
        )  # fmt: skip
        host.run = self
        return host

    def _has_half(self, members: tuple[int, ...] | list[int]) -> bool:
        return 2 * len(members) > len(self.nodelist)

    def told(self, node: int, event: QuorumChanged) -> None:
        """A node says that its ring is quorate."""
        self.verdict.quorate_rings += 1
        if self._has_half(event.members) or self.verdict.excuses:
            return
        if self.written.auto_tie_breaker and 2 * len(event.members) == len(self.nodelist):
            self.verdict.excuses.add("auto_tie_breaker")
            return
        self.verdict.violations.append(f"node {node} is quorate in {event.members} of {len(self.nodelist)} nodes")

    def _judge(self) -> None:
        """Judge the votes only. Other runs judge the ring."""
        sides = []
        for component in self.components:
            quorate = [node for node in component if self._votes_of(node).quorate]
            if quorate:
                sides.append(component)
            if self.verdict.excuses or self.written.wait_for_all or self.written.auto_tie_breaker:
                continue
            if self._has_half(component) and quorate != component:
                self.verdict.violations.append(f"in the end only {quorate} of {component} are quorate")
        if len(sides) > 1 and not self.verdict.excuses:
            self.verdict.violations.append(f"quorate at once: {sides}")

    def _votes_of(self, node: int) -> Votequorum:
        host = self.world.hosts[node]
        assert isinstance(host, VotingHost)
        assert host.votes is not None
        return host.votes
