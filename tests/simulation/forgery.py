"""A ring under a flood of forged packets, and how soon it delivers messages again when the flood ends.

`run_forgery(seed)` forms a ring with Corosync's default timers, lets clients send, and floods the ring with well-formed
forgeries for two seconds. After that it sends probes: in each round every node sends a small message. The ring has
recovered with the first round from which on every node delivers every probe. The time of its recovery is when that
round was delivered everywhere. In the whole run no exception may be raised, and during the flood no buffer may grow
beyond its bound.

The checker does not judge these runs. Without packet security its properties do not hold of a ring that receives
messages which nobody sent.
"""

from __future__ import annotations

import multiprocessing
import time
import traceback
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from services.totem.ring.events import Message, Notice
from services.totem.ring.options import (
    MESSAGE_SIZE_MAX,
    SORT_QUEUE_SLOTS,
    RingOptions,
    consensus_ms,
    token_hold_ms,
    token_retransmit_ms,
)
from tests.simulation.forger import Forger, of_ring
from tests.simulation.host import Host
from tests.simulation.trace import MESSAGE_SIZE_MIN, MessageId, Trace, message_id
from tests.simulation.world import MS, World

if TYPE_CHECKING:
    from services.totem.ring.events import Event

FLOOD_MS = 2000
WATCH_MS = 3000
"""How long probes are sent. Those of the last tenth need not be delivered before the run ends."""
BOUND_MS = 1000
"""Deliveries must go on at most this long after the end of the flood."""


class _NoTrace(Trace):
    """A trace that keeps the virtual time and drops all events."""

    def emit(self, node: int, inc: int, name: str, fields: dict[str, object]) -> None:
        """Drop the event: nobody reads it."""


class ForgedHost(Host):
    """A node that accepts messages which nobody sent. For `Host` they are an error."""

    def __init__(self, world: World, node: int, options: RingOptions) -> None:
        super().__init__(world, node, options)
        self.seen: dict[MessageId, int] = {}
        """When this node delivered each message that bears a member's name, ns."""
        self.notices = 0

    def probe(self) -> MessageId:
        """Send a small message now."""
        assert self.ring is not None
        data, n = self.make_message(MESSAGE_SIZE_MIN)
        self.ring.submit(data, (self.inc, n))
        self.ring.flush(self.world.now())
        self.settle()
        return self.node, self.inc, n

    def _handle(self, event: Event) -> None:
        self.notices += isinstance(event, Notice)
        super()._handle(event)

    def _deliver(self, event: Message) -> None:
        msg = message_id(event.data)
        if msg is not None and msg[0] in self.world.hosts:
            self.seen.setdefault(msg, self.world.now())
            if msg[:2] == (self.node, self.inc):
                self.outstanding.discard(msg[2])


@dataclass(slots=True)
class Outcome:
    """The result of one flood."""

    seed: int
    nodes: int = 0
    forged: int = 0
    recovered_ms: float | None = None
    """From the end of the flood until every node has delivered the first round of probes from which on none was lost.
    None: there was no such round."""
    rings: int = 0
    """Rings installed during the flood, over all nodes."""
    notices: int = 0
    failures: list[str] = field(default_factory=list)


class Forgery:
    """One run. `kinds` limits the forger to these kinds of forgeries. Empty: all kinds."""

    def __init__(self, seed: int, kinds: tuple[str, ...] = ()) -> None:
        draw = self.draw = Random(f"forgery {seed}")
        self.nodes = tuple(range(1, 1 + draw.choice((2, 3, 3, 3, 4, 5))))
        self.options = _options(draw, self.nodes)
        self.world = World(f"forgery {seed}", steps_max=10_000_000)
        self.world.trace = _NoTrace()
        self.hosts = [ForgedHost(self.world, node, self.options) for node in self.nodes]
        for host in self.hosts:
            self.world.add(host)
        names = frozenset(self.nodes).union(self.options.members or ())
        self.forger = Forger(names, Random(f"forger {seed}"), kinds)
        self.per_ms = draw.choice((0.2, 1.0, 1.0, 4.0))
        self.every_ms = draw.choice((10, 50, 300))
        self.sizes = draw.choice(((40,), (40, 4000), (1000, 20_000)))
        self.outcome = Outcome(seed, len(self.nodes))
        self.rounds: list[tuple[int, list[MessageId]]] = []
        self.end_ns = 0
        """When the flood is over."""

    def run(self) -> Outcome:
        """Form a ring, flood it, watch."""
        world = self.world
        for node in self.nodes:
            world.start(node)
        assert world.run_while(lambda: not world.formed(self.nodes), 10_000)
        world.run_for(self.draw.choice((20, 3000)))
        rings = self._rings()
        self.end_ns = world.now() + FLOOD_MS * MS
        self._strike()
        while world.now() < self.end_ns:
            if self.draw.random() < 0.5:
                self.draw.choice(self.hosts).submit(*self.sizes)
            world.run_until(min(self.end_ns, world.now() + self.draw.randint(1, 2 * self.every_ms) * MS))
            self._check_bounds()
        self.outcome.rings = self._rings() - rings
        for _ in range(WATCH_MS // self.every_ms):
            self.rounds.append((world.now(), [host.probe() for host in self.hosts]))
            world.run_for(self.every_ms)
        self._judge()
        return self.outcome

    def _strike(self) -> None:
        """Send one forgery to one node, or a different one to each node. Then set the time of the next strike, until
        the flood is over."""
        if self.world.now() >= self.end_ns:
            return
        for host in self.forger.random.sample(self.hosts, self.forger.random.choice((1, len(self.hosts)))):
            assert host.ring is not None
            self.outcome.forged += 1
            host.arrive(self.forger.forge(host.node, of_ring(host.ring)))
        pause_ms = self.forger.random.uniform(0.1, 1.9) / self.per_ms
        self.world.call_at(self.world.now() + int(pause_ms * MS), self._strike)

    def _rings(self) -> int:
        return sum(host.ring.counters.operational_entered for host in self.hosts if host.ring is not None)

    def _judge(self) -> None:
        outcome = self.outcome
        outcome.notices = sum(host.notices for host in self.hosts)
        due_ns = self.world.now() - WATCH_MS * MS // 10
        for at_ns, messages in reversed(self.rounds):
            times = [host.seen.get(msg, 0) for host in self.hosts for msg in messages]
            if all(times):
                outcome.recovered_ms = (max(times) - self.end_ns) / MS
            elif at_ns < due_ns:
                break
        if outcome.recovered_ms is None or outcome.recovered_ms > BOUND_MS:
            outcome.failures += [f"no deliveries within {BOUND_MS} ms, but {outcome.recovered_ms}", *self._states()]

    def _states(self) -> list[str]:
        lines = []
        for host in self.hosts:
            assert host.ring is not None
            s = host.ring.parts
            lines.append(
                f"node {host.node}: {s.state} in {tuple(s.membership.ring_id)} of {s.membership.members}, "
                f"proc {s.consensus.proc} failed {s.consensus.failed} "
                f"sync {s.sync.services if s.sync.active else 'done'} "
                f"token_seq {s.rotation.token_seq} aru {s.delivery.regular.aru}"
            )
        return lines

    def _check_bounds(self) -> None:
        for host in self.hosts:
            assert host.ring is not None
            s = host.ring.parts
            assembly_bytes = s.delivery.assembler.size() + s.sync.assembler.size()
            sizes = {
                "regular": (len(s.delivery.regular.frames), SORT_QUEUE_SLOTS),
                "recovery": (len(s.recovery.store.frames) if s.recovery.store else 0, SORT_QUEUE_SLOTS),
                "retrans": (len(s.recovery.retrans_queue), SORT_QUEUE_SLOTS),
                "assembly": (assembly_bytes, 2 * len(self.nodes) * (MESSAGE_SIZE_MAX + 65536)),
                "sync": (s.sync.packer.packets_queued(), 100),
            }
            self.outcome.failures += [
                f"{name} of node {host.node} holds {size}, more than {bound}"
                for name, (size, bound) in sizes.items()
                if size > bound
            ]


def _options(draw: Random, ids: tuple[int, ...]) -> RingOptions:
    """Corosync's default timers for this many nodes. The nodelist may be absent, and it may also name a dead node."""
    token = 3000 + 650 * (len(ids) - 2)
    retransmit = token_retransmit_ms(token)
    listed = frozenset((*ids, *draw.choice(((), (), (9,)))))
    return RingOptions(
        members=draw.choice((None, listed, listed)),
        token_timeout_ms=token,
        token_retransmit_ms=retransmit,
        token_hold_ms=token_hold_ms(retransmit),
        consensus_timeout_ms=consensus_ms(token),
        initial_sequence=draw.choice((0, 0, (1 << 32) - 300)),
    )


def run_forgery(seed: int) -> Outcome:
    """Run one seed. An exception becomes a failure in its outcome."""
    forgery = Forgery(seed)
    try:
        return forgery.run()
    except Exception:  # whatever is raised is a finding
        forgery.outcome.failures.append(traceback.format_exc())
        return forgery.outcome


def run_forgeries(seeds: range, jobs: int) -> int:
    """Run many seeds and print the outcomes. The exit code: 0 if all rings recovered in time, 1 if not."""
    began = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(min(jobs, len(seeds))) as pool:
        outcomes = pool.map(run_forgery, seeds, chunksize=1)
    print(f"{len(outcomes)} floods of {FLOOD_MS} ms in {time.monotonic() - began:.1f} s")
    print(
        f"forged packets {sum(o.forged for o in outcomes)}, rings installed meanwhile {sum(o.rings for o in outcomes)}"
    )
    times = sorted(o.recovered_ms for o in outcomes if o.recovered_ms is not None)
    if times:
        picked = (times[0], times[len(times) // 2], times[len(times) * 9 // 10], times[-1])
        print("ms until deliveries go on: min {:.0f}, median {:.0f}, p90 {:.0f}, max {:.0f}".format(*picked))
    failed = [outcome for outcome in outcomes if outcome.failures]
    for outcome in failed:
        print(f"seed {outcome.seed} FAILED", *outcome.failures, sep="\n  ")
        print(f"  replay: make forgeries SEED={outcome.seed}")
    if not failed:
        print(f"all {len(outcomes)} rings deliver again within {BOUND_MS} ms")
    return 1 if failed else 0
