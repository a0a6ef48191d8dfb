"""Knet in the simulator: several links between each two nodes. Each direction of a link has faults of its own.

The nodes' frames go through the real knet (`services.totem.transport.knet`): its pings, fragments, packet numbers, path
MTU discovery and encryption, in virtual time. `network` has the faults of all packets (partitions, loss, rules), which
hit every link. This module has the faults of single links. Two things are checked here beside what the checker judges:

* A frame that knet hands to a ring is, byte for byte, one that the named node sent.
* When all faults are over, every link between two running nodes comes up again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from random import Random
from typing import TYPE_CHECKING

from services.totem.transport.knet.compression import compressor
from services.totem.transport.knet.crypto import PacketCipher, make_cipher
from services.totem.transport.knet.format import PING_BYTES
from services.totem.transport.knet.keyring import Keyring
from services.totem.transport.knet.knet import Knet
from services.totem.transport.knet.link_options import KnetOptions, LinkMode, LinkOptions
from services.totem.transport.knet_frames import TotemFrames
from tests.simulation.network import OnLink
from tests.simulation.trace import SimulationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from services.totem.ring.events import State
    from services.totem.transport.knet.effects import LinkEvent
    from tests.simulation.host import Host
    from tests.simulation.world import World

KEYS = (bytes(range(256)), bytes(range(255, -1, -1)))
"""The key at the beginning, and the key that replaces it."""
IP_UDP_BYTES = 28
CONTROL = -1
"""The kind of a datagram that holds no frame of the ring, such as a ping."""
_KIND_AT = 3
_TARGET_END = 13
_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class KnetPlan:
    """How the nodes of a run are linked."""

    links: dict[int, LinkOptions] = field(default_factory=lambda: {0: LinkOptions(), 1: LinkOptions(port=5406)})
    mode: LinkMode = LinkMode.PASSIVE
    cipher: str = "none"
    hash: str = "none"
    compression: str = "none"
    interface_mtu: int = 1500
    mtu: int = 0
    pmtud_interval_ms: int = 30_000
    ports_held: bool = False
    """Whether another process holds the ports of a node that is down. If not, ICMP tells senders that nobody listens
    there."""


@dataclass(slots=True)
class Wire:
    """The faults of one direction of a link between two nodes."""

    cut: bool = False
    loss: float = 0.0
    slow_ms: float = 0.0
    size_max: int = 65_535
    """Larger datagrams are lost, and the sender is not told."""


@dataclass(frozen=True, slots=True)
class Trap:
    """Pulls the cable that carries a node's data when the node sends its `lists`-th list of packets in `state`. The
    cable is plugged in again after `duration_ms`."""

    state: State
    lists: int
    duration_ms: float


def address(node: int, link: int) -> tuple[str, int]:
    """The IP address and UDP port of a node on a link."""
    return f"10.{link}.{node >> 8}.{node & 255}", 5405 + link


def node_at(to: tuple[str, int]) -> int:
    """The node that has this address."""
    _, _, high, low = to[0].split(".")
    return int(high) << 8 | int(low)


class KnetLife:
    """The knet of one node, in one life of its process."""

    def __init__(self, wires: Wires, host: Host) -> None:
        world, plan = wires.world, wires.plan
        self._wires, self._host, self._world = wires, host, world
        self._random = Random(f"knet {wires.seed} {host.node} {host.inc}")
        options = KnetOptions(
            host.node, plan.links, plan.mode, plan.pmtud_interval_ms, plan.mtu,
            plan.compression, compression_threshold=100,
        )  # fmt: skip
        valid, in_use = wires.keys_of(host.node)
        self.keys = Keyring(self._cipher, valid[0])
        for key in valid:
            self.keys.install_key(key)
        self.keys.use_key(self.keys.install_key(in_use))
        self._ping_bytes = len(self.keys.seal(bytes(PING_BYTES)))
        self.knet = Knet(options, self.keys, world.now(), self._random.getrandbits(56), compressor(plan.compression, 0))
        self._frames = TotemFrames(self.knet)
        others = world.everybody_else(host.node)
        self.knet.set_hosts(
            {other: {link: address(other, link) for link in plan.links} for other in others},
            dict.fromkeys(plan.links, plan.interface_mtu), world.now(),
        )  # fmt: skip
        self._wake_at_ns: int | None = None
        self._carried: dict[int, int] = {}
        self._trapped: State | None = None

    def _cipher(self, key: bytes) -> PacketCipher:
        return make_cipher(self._wires.plan.cipher, self._wires.plan.hash, key, self._random.randbytes(16))

    def begin(self) -> None:
        """Send the first pings."""
        self._timer(self._wake_at_ns)

    def send(self, packets: list[tuple[int, bytes]]) -> None:
        """Send frames of the ring to other nodes."""
        self._spring()
        sent = self._wires.sent
        for kind, run in groupby(packets, lambda packet: packet[1][_KIND_AT]):
            frames, before = list(run), self.knet.numbers.last
            sent.update(hash((self._host.node, frame[_TARGET_END:])) for _, frame in frames)
            self._frames.send(frames, self._world.now())
            self._flush(kind)
            self._wires.counts["wrapped"] += self.knet.numbers.last < before
        self._set_timer()

    def open(self, datagram: OnLink, hand_in: Callable[[bytes], None]) -> None:
        """A datagram has arrived. Hand in the frames of the ring that knet makes of it."""
        source, link = datagram.source, datagram.link
        frames = self.knet.receive([datagram], link, address(source, link), self._world.now())
        self._flush()
        self._set_timer()
        self._wires.counts["replayed_frames"] += len(frames) if datagram.forged else 0
        for frame in frames:
            if hash((source, frame[_TARGET_END:])) not in self._wires.sent:
                raise SimulationError(f"node {self._host.node} was handed a frame that node {source} never sent")
            if self._frames.is_for_this_node(frame):
                hand_in(frame)

    def refused(self, link: int, node: int) -> None:
        """ICMP says that nobody listens at this node's port."""
        self.knet.unreachable(link, address(node, link), self._world.now())
        self._flush()
        self._set_timer()

    def too_large(self, link: int, node: int, size: int) -> None:
        """The interface does not carry a datagram of `size` bytes to this node."""
        self.knet.too_large(link, address(node, link), size, self._world.now())
        self._wires.counts["too_large"] += 1

    def end(self) -> None:
        """The process has ended. Its counters are added to those of the run."""
        self._wires.refused.update(self.knet.counters)
        for host in self.knet.hosts.values():
            self._wires.counts["window_restarts"] += host.window.restarts
            self._wires.counts["jumped"] += host.window.passed_over
            self._wires.counts["incomplete"] += host.joiner.dropped

    def _timer(self, at_ns: int | None) -> None:
        if at_ns != self._wake_at_ns:
            return
        self._wake_at_ns = None
        if self.knet.due_ns <= self._world.now():
            self.knet.advance(self._world.now())
            self._flush()
        self._set_timer()

    def _set_timer(self) -> None:
        if self.knet.ready:
            self._host.begin_ring()
        due_ns = max(self.knet.due_ns, self._world.now())
        if self._wake_at_ns is None or due_ns < self._wake_at_ns:
            self._wake_at_ns = due_ns
            self._host.later(due_ns - self._world.now(), partial(self._timer, due_ns))

    def _flush(self, kind: int = CONTROL) -> None:
        """Put knet's datagrams on the wires. A ping that leaves among frames is recognised by its size."""
        for link, to, datagrams in self.knet.take_outbox():
            for each in datagrams:
                of_kind = CONTROL if len(each) == self._ping_bytes else kind
                self._wires.put(self, self._host.node, node_at(to), link, each, of_kind)
        for event in self.knet.take_events():
            self._note(event)

    def _note(self, event: LinkEvent) -> None:
        counts = self._wires.counts
        counts[event.what] += 1
        if event.what != "carriers" or self._host.ring is None:
            return
        before, self._carried[event.node] = self._carried.get(event.node, -1), event.link
        if event.link < 0:
            counts["all_down"] += 1
        elif before >= 0 and before != event.link:
            counts[f"failover_in_{self._host.ring.state.value}"] += 1
            if self._trapped is not None:
                counts[f"failover_in_{self._trapped.value}"] += 1

    def _spring(self) -> None:
        """Pull the cable if a trap waits for the list of packets that is being sent now."""
        node, ring = self._host.node, self._host.ring
        trap = self._wires.traps.get(node)
        if trap is None or ring is None or ring.state != trap.state:
            return
        if trap.lists > 1:
            self._wires.traps[node] = Trap(trap.state, trap.lists - 1, trap.duration_ms)
            return
        del self._wires.traps[node]
        carriers = {host.carriers[0].number for host in self.knet.hosts.values() if host.carriers}
        if len(self.knet.options.links) > 1 and carriers:
            self._trapped = trap.state
            self._wires.pull(node, min(carriers), trap.duration_ms)


class Wires:
    """All links of a run, and their faults."""

    def __init__(self, world: World, seed: int | str, plan: KnetPlan) -> None:
        self.world = world
        self.seed = seed
        self.plan = plan
        self.wires: dict[tuple[int, int, int], Wire] = {}
        """Faults by sender, receiver and link."""
        self.interface_mtu: dict[tuple[int, int], int] = {}
        """MTU by node and link, where it is not the plan's."""
        self.traps: dict[int, Trap] = {}
        self.sent: set[int] = set()
        """A hash of sender and content for each frame that was sent."""
        self.counts: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.on_sent: Callable[[int, OnLink], None] | None = None
        """Called with the target and the datagram for each datagram that goes onto a wire."""
        self._draw = Random(f"wires {seed}")
        self._keys: dict[int, tuple[list[bytes], bytes]] = {}
        """The valid keys of each node, and the one in use. They survive its process, as on a disk."""

    def begin(self, host: Host) -> KnetLife:
        """Start knet for a new life of a node's process."""
        return KnetLife(self, host)

    def keys_of(self, node: int) -> tuple[list[bytes], bytes]:
        """The valid keys of a node, and the one in use."""
        return self._keys.get(node, ([KEYS[0]], KEYS[0]))

    def change_key(self, node: int, step: str) -> None:
        """Do one step of a key change on one node, as its operator would: install, use or remove. The node may be
        down."""
        old, new = KEYS
        valid, in_use = self.keys_of(node)
        life = self.world.hosts[node].knet_life
        if step == "install" and new not in valid:
            self._keys[node] = ([*valid, new], in_use)
            if life is not None:
                life.keys.install_key(new)
        elif step == "use" and new in valid:
            self._keys[node] = (valid, new)
            if life is not None:
                life.keys.use_key(life.keys.install_key(new))
        elif step == "remove" and old in valid and in_use == new:
            self._keys[node] = ([new], new)
            if life is not None:
                life.keys.remove_key(life.keys.install_key(old))
            self.counts["key_changed"] += self.plan.hash != "none"

    def wire(self, source: int, target: int, link: int) -> Wire:
        """The faults of one direction of a link."""
        return self.wires.setdefault((source, target, link), Wire())

    def cable(self, node: int, link: int) -> Iterable[Wire]:
        """Both directions of all links that use this cable of a node."""
        for other in self.world.everybody_else(node):
            yield self.wire(node, other, link)
            yield self.wire(other, node, link)

    def pull(self, node: int, link: int, duration_ms: float) -> None:
        """Pull a cable, and plug it in again after this long."""
        self.plug(node, link, cut=True)
        at_ns = self.world.now() + int(duration_ms * _MS)
        self.world.call_at(at_ns, partial(self.plug, node, link, cut=False))

    def plug(self, node: int, link: int, *, cut: bool) -> None:
        """Pull a cable or plug it in."""
        for wire in self.cable(node, link):
            wire.cut = cut

    def calm(self) -> None:
        """All links are sound again."""
        self.wires.clear()
        self.interface_mtu.clear()
        self.traps.clear()

    def put(self, life: KnetLife, source: int, target: int, link: int, content: bytes, kind: int) -> None:
        """Send a datagram. The interface may refuse it for its size, and a fault of the link may lose it."""
        mtu = self.interface_mtu.get((source, link), self.plan.interface_mtu)
        if len(content) + IP_UDP_BYTES > mtu:
            life.too_large(link, target, len(content))
            return
        wire = self.wires.get((source, target, link))
        slow_ns = 0
        if wire is not None:
            if wire.cut or (wire.loss and self._draw.random() < wire.loss):
                self.counts["lost_on_a_wire"] += 1
                return
            if len(content) > wire.size_max:
                self.counts["large_lost"] += 1
                return
            slow_ns = int(wire.slow_ms * _MS)
        datagram = OnLink.on(content, kind, source, link)
        if self.on_sent is not None:
            self.on_sent(target, datagram)
        self.world.network.send(self.world.now(), source, target, datagram, link, slow_ns)

    def nobody_listens(self, datagram: OnLink, node: int) -> None:
        """A datagram has arrived at a node that is down. ICMP may tell the sender."""
        life = self.world.hosts[datagram.source].knet_life
        wire = self.wires.get((node, datagram.source, datagram.link))
        if not self.plan.ports_held and life is not None and not (wire is not None and wire.cut):
            self.counts["refused"] += 1
            self.world.hosts[datagram.source].later(
                self.world.network.delay_ns, partial(life.refused, datagram.link, node)
            )

    @property
    def up_within_ms(self) -> int:
        """The time in which a sound link comes up, in whatever state it was before."""
        return max(link.ping_interval_ms * (link.pong_count + 3) for link in self.plan.links.values())

    def unsound(self, components: Iterable[Iterable[int]]) -> list[str]:
        """Links that are down although their nodes can reach each other."""
        down = []
        for component in components:
            nodes = list(component)
            for node in nodes:
                life = self.world.hosts[node].knet_life
                for other in nodes:
                    if life is not None and other != node:
                        links = life.knet.hosts[other].links.values()
                        down += [f"{node} to {other}, link {each.number}" for each in links if not each.up]
        return down

    def marks(self) -> set[str]:
        """The knet marks that this run has reached. The life of each node ends here, so that its counters are
        included."""
        for host in self.world.hosts.values():
            if host.knet_life is not None:
                host.knet_life.end()
                host.knet_life = None
        found = {f"knet_{name}" for name in _COUNTED if self.counts[name]}
        return found | {f"knet_{mark}" for mark, name in _REFUSED.items() if self.refused[name]}


KNET_MARKS = {
    "knet_failover_in_operational": "knet: another link took over in Operational",
    "knet_failover_in_gather": "knet: the link that carried a node's data died in Gather, and another took over",
    "knet_failover_in_commit": "knet: so in Commit",
    "knet_failover_in_recovery": "knet: so in Recovery",
    "knet_all_down": "knet: a host could not be reached over any link",
    "knet_large_lost": "knet: a link lost large datagrams without a word",
    "knet_too_large": "knet: an interface refused a datagram for its size",
    "knet_incomplete": "knet: fragments of a frame were lost",
    "knet_window_restarts": "knet: a number was so far away that a new window began",
    "knet_jumped": "knet: a ping told that numbers had been passed over",
    "knet_wrapped": "knet: a sender's numbers began again from 1",
    "knet_began_anew": "knet: a ping with number 0 told that a node begins to count anew",
    "knet_refused": "knet: ICMP said that nobody listens at a node's port",
    "knet_down_by_doubt": "knet: a link went down because a doubt was not answered",
    "knet_down_by_timer": "knet: a link went down because pongs stayed away",
    "knet_key_changed": "knet: the key was changed while nodes came and went",
    "knet_copies_dropped": "knet: copies of packets were dropped",
    "knet_unreachable_dropped": "knet: data came from a host of which no link was up",
}  # fmt: skip

_COUNTED = (
    "failover_in_operational", "failover_in_gather", "failover_in_commit", "failover_in_recovery", "all_down",
    "large_lost", "too_large", "incomplete", "window_restarts", "jumped", "wrapped", "refused",
    "key_changed",
)  # fmt: skip
_REFUSED = {
    "began_anew": "hosts_begun_anew",
    "down_by_doubt": "links_down_by_doubt",
    "down_by_timer": "links_down_by_silence",
    "copies_dropped": "rx_copies",
    "unreachable_dropped": "rx_unreachable",
}
