"""The world of a simulation: virtual time, the queue of what is due, the nodes and the network between them.

Nothing here reads a clock, and all randomness follows from the seed. So a run can be repeated exactly.
"""

from __future__ import annotations

import heapq
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from services.totem.ring.events import State
from services.totem.ring.ring import Ring
from services.totem.sequence_file import SEQUENCES_PER_SECOND
from tests.simulation.host import Host
from tests.simulation.network import Network, Sealed
from tests.simulation.trace import SimulationError, Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.simulation.knet_wires import Wires
    from tests.simulation.sealing import Sealing
    from tests.simulation.trace import NodeObserver

MS = 1_000_000
SECOND = 1_000_000_000
WALL_CLOCK_START_S = 1_700_000_000
"""What the wall clock shows when virtual time begins. Nodes that lost their state file take their ring sequence from
it."""
_POOL_BYTES = 1 << 20
_POOL = Random("filler").randbytes(2 * _POOL_BYTES)


class World:
    """Nodes, network and time of one run."""

    def __init__(self, seed: int | str = 0, *, steps_max: int = 2_000_000) -> None:
        self.random = Random(f"world {seed}")
        self.trace = Trace()
        self.hosts: dict[int, Host] = {}
        self.counts: Counter[str] = Counter()
        self.network = Network(Random(f"network {seed}"), self._deliver)
        self.sealing: Sealing | None = None
        """Packet security. None: packets are not sealed."""
        self.wires: Wires | None = None
        """Several links between each two nodes. None: there is one."""
        self.steps = 0
        self.steps_max = steps_max
        self._heap: list[tuple[int, int, Callable[[], None] | Host, bytes | None]] = []
        self._order = 0
        self._others: dict[int, tuple[int, ...]] = {}

    # -- what hosts need ----------------------------------------------------------------------------------------------

    def now(self) -> int:
        """Virtual time, ns."""
        return self.trace.now_ns

    def call_at(self, at_ns: int, action: Callable[[], None]) -> None:
        """Call `action` at this time. What is due at the same time happens in the order in which it was asked for."""
        self._order += 1
        heapq.heappush(self._heap, (at_ns, self._order, action, None))

    def _deliver(self, at_ns: int, target: int, data: bytes) -> None:
        self._order += 1
        heapq.heappush(self._heap, (at_ns, self._order, self.hosts[target], data))

    def transmit(self, source: int, target: int, data: bytes) -> None:
        """Put a datagram on the network. Nothing is sent to a node that does not exist."""
        if self.sealing is not None and isinstance(data, Sealed):
            self.sealing.put(target, data)
        elif target in self.hosts:
            self.network.send(self.trace.now_ns, source, target, data)

    def everybody_else(self, node: int) -> tuple[int, ...]:
        """The nodes that receive a multicast of this node."""
        return self._others[node]

    def draw(self, limit: int) -> int:
        """A random int in [0, limit)."""
        return self.random.randrange(limit) if limit > 0 else 0

    def filler(self, size: int) -> bytes:
        """This many random bytes, at most 1 MiB."""
        at = self.random.randrange(_POOL_BYTES)
        return _POOL[at : at + size]

    def new_ring(self, host: Host, observer: NodeObserver) -> Ring:
        """A new `Ring` for a node that starts now."""
        keeper = host.life.security.agreement if host.life is not None else None
        return Ring(host.options, host.node, host.stored, self.now(), self.draw, observer, keeper)

    # -- building and driving -----------------------------------------------------------------------------------------

    def add(self, host: Host) -> Host:
        """Add a node to the network. Its process is not started yet."""
        self.hosts[host.node] = host
        self._others = {node: tuple(other for other in self.hosts if other != node) for node in self.hosts}
        return host

    def start(self, node: int, *, lost_state: bool = False) -> None:
        """Start a node's process."""
        self.hosts[node].start(lost_state=lost_state, wall_clock_sequence=self.wall_clock_sequence())

    def wall_clock_sequence(self) -> int:
        """The ring sequence of a node that starts now and has lost its state file."""
        return (WALL_CLOCK_START_S * SECOND + self.now()) * SEQUENCES_PER_SECOND // SECOND

    def run_until(self, at_ns: int) -> None:
        """Let time pass until `at_ns`."""
        heap, trace = self._heap, self.trace
        while heap and heap[0][0] <= at_ns:
            due_ns, _, what, data = heapq.heappop(heap)
            trace.now_ns = max(trace.now_ns, due_ns)
            self.steps += 1
            if isinstance(what, Host):
                what.arrive(data or b"")
            else:
                what()
            if self.steps > self.steps_max:
                raise SimulationError(
                    f"no rest after {self.steps_max} steps, {trace.now_ns / SECOND:.1f} virtual seconds"
                )
        trace.now_ns = max(trace.now_ns, at_ns)

    def run_for(self, duration_ms: float) -> None:
        """Let this much time pass."""
        self.run_until(self.now() + int(duration_ms * MS))

    def run_while(self, condition: Callable[[], object], timeout_ms: float, step_ms: float = 10) -> bool:
        """Let time pass while the condition holds, at most `timeout_ms`. Gives whether it ceased to hold."""
        end_ns = self.now() + int(timeout_ms * MS)
        while condition():
            if self.now() >= end_ns:
                return False
            self.run_until(min(end_ns, self.now() + int(step_ms * MS)))
        return True

    # -- looking ------------------------------------------------------------------------------------------------------

    def alive(self) -> list[int]:
        """Nodes whose process exists."""
        return sorted(node for node, host in self.hosts.items() if host.ring is not None)

    def formed(self, members: Iterable[int]) -> bool:
        """Whether these nodes are one ring without others, and its sync is complete on all of them."""
        wanted = tuple(sorted(members))
        rings = set()
        for node in wanted:
            host = self.hosts[node]
            ring = host.ring
            if ring is None or ring.state != State.OPERATIONAL or ring.members != wanted:
                return False
            if host.synced_ring != ring.ring_id:
                return False
            rings.add(ring.ring_id)
        return len(rings) == 1

    def settled(self) -> bool:
        """Whether no client of a running node waits, and each running node has delivered all its own messages."""
        return not any(host.waiting or host.outstanding for host in self.hosts.values() if host.ring is not None)

    def declare_stable(self, components: Iterable[Iterable[int]]) -> None:
        """Write to the trace that no more faults come, and which nodes are connected with each other."""
        for component in components:
            self.trace.emit(0, 0, "stable", {"component": sorted(component), "at": self.now() / SECOND})

    def declare_end(self) -> None:
        """Write to the trace that the run is over."""
        self.trace.emit(0, 0, "end", {})
