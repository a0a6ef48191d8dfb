"""One run of the swarm: a seed, from its plan to the verdict. (`swarm` runs many of them over several processes.)"""

from __future__ import annotations

import gc
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.simulation.host import Host
from tests.simulation.judge import judge
from tests.simulation.knet_wires import Wires
from tests.simulation.marks import marks_of
from tests.simulation.plan import FAULTS_MIN, MESSAGES_MIN, make_plan
from tests.simulation.sealing import Sealing
from tests.simulation.world import MS, SECOND, World

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.simulation.operations import Op
    from tests.simulation.plan import NodePlan, Plan

SECONDS_MIN = 30
_ORDERED_WITHIN_MS = 60_000
"""The time for ordering the messages that are still queued when all faults are over."""
_VIOLATIONS_SHOWN = 10
_STEPS_MAX = 1_500_000


@dataclass(slots=True)
class Report:
    """What one seed did, and what was wrong with it."""

    seed: int
    nodes: int = 0
    faults: int = 0
    fault_kinds: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    deliveries: int = 0
    rings: int = 0
    virtual_s: float = 0.0
    converged_ms: float = 0.0
    steps: int = 0
    events: int = 0
    wall_s: float = 0.0
    digest: str = ""
    """The digest of the whole trace, if it was asked for. Two versions of the ring with one digest behave alike."""
    marks: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)


class SeedRun:
    """The run of a plan. `without` has the indexes of items that are left out."""

    def __init__(self, plan: Plan, without: Collection[int] = ()) -> None:
        self.plan = plan
        self.items = [item for i, item in enumerate(plan.items) if i not in without]
        self.reduced = bool(without)
        self.world = World(plan.seed, steps_max=_STEPS_MAX)
        self.report = Report(plan.seed, len(plan.nodes))
        self._build()

    def _build(self) -> None:
        world, plan = self.world, self.plan
        world.network.delay_ns, world.network.jitter_ns = plan.delay_ns, plan.jitter_ns
        world.network.late_until_ns = int(plan.phase_ms * MS)
        if plan.suite is not None:
            world.sealing = Sealing(world, plan.seed, plan.suite, plan.secrecy, plan.pace)
        if plan.knet is not None:
            world.wires = Wires(world, plan.seed, plan.knet)
        for node in plan.nodes:
            host = self.new_host(node)
            host.stored = node.stored
            world.add(host)
            world.call_at(int(node.start_ms * MS), lambda node=node.node: world.start(node))  # type: ignore[misc]
        for item in self.items:
            for op in item.ops:
                if op.at_ms < plan.phase_ms:
                    self._schedule(op)

    def new_host(self, node: NodePlan) -> Host:
        """A node of the plan."""
        return Host(
            self.world, node.node, node.options, queue_bytes_max=node.queue_bytes_max,
            separate_sockets=node.separate_sockets, wake_latency_ns=node.wake_latency_ns,
            sync_delay_ns=node.sync_delay_ns, receive_bytes=node.receive_bytes,
        )  # fmt: skip

    def _schedule(self, op: Op) -> None:
        self.world.call_at(int(op.at_ms * MS), lambda: op.apply(self.world))

    def run(self) -> Report:
        """Run the plan: first the faults, then a time without faults, then the verdict."""
        began = time.perf_counter()
        try:
            self.world.run_until(int(self.plan.phase_ms * MS))
            self._calm()
            self._converge()
            self._order_everything()
            if self.world.sealing is not None and self.world.sealing.thief is not None:
                self.world.sealing.thief.steal_key_file()
            self.world.declare_end()
        except Exception:  # whatever the ring raises is a finding
            self.report.failures.append(traceback.format_exc())
        else:
            self._judge()
        self._count()
        self.report.wall_s = time.perf_counter() - began
        return self.report

    def _calm(self) -> None:
        """End all faults. The nodes that run go on without further ones, in the components of the plan."""
        world = self.world
        world.network.calm()
        if world.sealing is not None:
            world.sealing.tampering = 0.0
        if world.wires is not None:
            world.wires.calm()
        world.network.partition(self.plan.components)
        for node, host in world.hosts.items():
            host.crash_point = None
            host.thaw()
            if not world.alive():
                world.start(node)
        alive = set(world.alive())
        self.components = [sorted(alive.intersection(component)) for component in self.plan.components]
        self.components = [component for component in self.components if component]
        world.declare_stable(self.components)

    def _converge(self) -> None:
        """Each component must become one ring within the token time-out, three consensus time-outs and a second."""
        options = self.plan.nodes[0].options
        bound_ms = options.token_timeout_ms + 3 * options.consensus_timeout_ms + 1000
        began_ns = self.world.now()
        if not self.world.run_while(lambda: not all(map(self.world.formed, self.components)), bound_ms):
            states = {
                node: (str(host.ring.state), host.ring.members, tuple(host.ring.ring_id), host.synced_ring)
                for node, host in self.world.hosts.items()
                if host.ring is not None
            }
            self.report.failures.append(f"not converged within {bound_ms} ms: {states}")
        self.report.converged_ms = (self.world.now() - began_ns) / MS

    def _order_everything(self) -> None:
        """Let all nodes send more messages. Every accepted message must be ordered, the rings must stay as they are,
        and the links of knet must come up."""
        world = self.world
        alive = world.alive()
        missing = 0 if self.reduced else MESSAGES_MIN - sum(host.submitted for host in world.hosts.values())
        for node in alive:
            world.hosts[node].submit(*[100] * max(2, -(-missing // len(alive))))
        if not world.run_while(lambda: not world.settled(), _ORDERED_WITHIN_MS):
            open_messages = {n: (len(h.waiting), sorted(h.outstanding)[:5]) for n, h in world.hosts.items() if h.ring}
            self.report.failures.append(f"messages are not ordered after {_ORDERED_WITHIN_MS} ms: {open_messages}")
        world.run_for(max(300.0, SECONDS_MIN * 1000 + 1 - world.now() / MS))
        if not all(map(world.formed, self.components)):
            self.report.failures.append("the ring changed although nothing was wrong any more")
        wires = world.wires
        if wires is not None and not world.run_while(lambda: wires.unsound(self.components), wires.up_within_ms):
            down = wires.unsound(self.components)
            self.report.failures.append(f"links are down although nothing is wrong any more: {down}")

    def _judge(self) -> None:
        self.report.failures += [str(violation) for violation in judge(self.world)[:_VIOLATIONS_SHOWN]]

    def _count(self) -> None:
        report, world = self.report, self.world
        report.fault_kinds = Counter(item.kind for item in self.items if item.kind != "burst")
        report.faults = report.fault_kinds.total()
        report.messages = sum(host.submitted for host in world.hosts.values())
        names = Counter(event["ev"] for event in world.trace.events)
        report.deliveries, report.events, report.steps = names["deliver"], len(world.trace.events), world.steps
        report.rings = len({e["cfg"] for e in world.trace.events if e["ev"] == "conf" and e["kind"] == "reg"})
        report.virtual_s = world.now() / SECOND
        report.marks = marks_of(world)
        enough = report.faults >= FAULTS_MIN and report.messages >= MESSAGES_MIN and report.virtual_s >= SECONDS_MIN
        if not (enough or self.reduced or report.failures):
            report.failures.append(
                f"too tame: {report.faults} faults, {report.messages} messages, {report.virtual_s:.1f} virtual seconds"
            )


def run_seed(seed: int, without: Collection[int] = (), *, with_digest: bool = False) -> Report:
    """Run one seed. If `with_digest`, the report has the digest of the trace, which takes a while to compute.

    The garbage collector is off during a run. It would take a sixth of the time and find nothing, because a run makes
    many objects that all live until its end.
    """
    gc.disable()
    try:
        run = SeedRun(make_plan(seed), without)
        report = run.run()
        if with_digest:
            report.digest = run.world.trace.digest()
        run.world.trace.events.clear()  # most of the objects, and in no cycle, so they are freed at once
        del run
        return report
    finally:
        gc.enable()
        gc.collect()
