"""Packet security in the simulator, and an attacker on the network who knows everything but the key.

The real sealer seals what nodes send, and the real opener opens it. Boots and nonces are drawn from the seed. The
attacker records all packets, and sends them again at any time and to any node. He alters, cuts and forges packets.
Other rings with other keys and names send on the same network. None of this may do anything except raise counters. The
checker judges such a run like any other. Three more properties are checked here:

* No altered or foreign packet is ever opened.
* No packet is opened twice by one life of a node.
* No packet is opened that was sealed before the receiver's life began.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import partial
from itertools import groupby
from random import Random
from typing import TYPE_CHECKING

from services.totem.ring.events import EVERYBODY
from services.totem.security.packets import PacketSecurity
from services.totem.security.ring_keys import Pace
from services.totem.security.suites import SUITES
from services.totem.wire.frames import Kind
from tests.simulation.network import Sealed
from tests.simulation.thief import Thief, ring_frame_under_key
from tests.simulation.trace import SimulationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.host import Host
    from tests.simulation.world import World

RECORDED_MAX = 4000
CLUSTER = "simulated"
KEYS = tuple(hashlib.sha256(f"key {n}".encode()).digest() * 4 for n in range(3))
"""The key at the beginning, the key that replaces it, and the key of somebody else."""
OLD, NEW, FOREIGN = range(3)

_IDENTITY = slice(10, 40)
"""Where the envelope has sender, boot, length and counter. Together they identify a packet."""
_KIND_AT = 3
_COUNTER_AT = 32


class Life:
    """The packet security of one node, in one life of its process."""

    def __init__(self, sealing: Sealing, host: Host) -> None:
        self._sealing = sealing
        self._host = host
        self._since_ns = sealing.world.now()
        self._opened: set[bytes] = set()
        keys = sealing.keys[host.node]
        mode = "no" if host.options.like_corosync else sealing.secrecy.get(host.node, "no")
        self.security = sealing.security(host.node, f"{host.node} {host.inc}", keys[0], host.options.members, mode=mode)
        if self.security.rings is not None:
            self.security.rings.pace = sealing.pace
        for key in keys:
            self.security.install_key(KEYS[key])
        self.use(sealing.in_use[host.node])

    def use(self, key: int) -> None:
        """Seal with this key from now on. `key` is an index of KEYS."""
        self.security.use_key(self.security.install_key(KEYS[key]))

    def open(self, datagram: Sealed, hand_in: Callable[[bytes], None]) -> None:
        """Open a datagram, send the replies of packet security, and hand in the frames that were opened or released."""
        sealing, security = self._sealing, self.security
        now_ns = sealing.world.now()
        if now_ns >= security.tend_due_ns:
            security.tend(now_ns)
        frame = security.open(datagram, str(datagram.source), now_ns)
        if frame is None and not security.has_output:
            return
        frames = [] if frame is None else [frame]
        for reply in security.take_replies():
            sealing.note(reply.datagram)
            sealing.put(reply.node, Sealed.of(reply.datagram, Kind.HOLD_CANCEL, self._host.node))
        if frame is not None:
            self._watch(datagram)
        released = security.take_released()
        if released:
            sealing.world.counts["held_packets_released"] += 1
            frames += [each for each, _ in released]
        security.take_complaints()
        for each in frames:
            hand_in(each)

    def _watch(self, datagram: Sealed) -> None:
        identity = bytes(datagram[_IDENTITY])
        who = f"node {self._host.node} opened a packet of node {datagram.source}"
        if datagram.forged:
            raise SimulationError(f"{who} that was forged")
        if identity in self._opened:
            raise SimulationError(f"{who} twice")
        self._opened.add(identity)
        if self._sealing.sealed_at_ns[identity] < self._since_ns:
            raise SimulationError(f"{who} from before its own start")

    def end(self) -> None:
        """The process has ended. Its counters are added to those of the run."""
        for name, count in self.security.counters.items():
            self._sealing.refused[name] += count
        if self.security.rings is not None:
            self._sealing.world.counts["epochs_begun"] += self.security.rings.epochs_begun


class Sealing:
    """The packet security of all nodes of a world, and the attacker. `suite` is a key of SUITES. `secrecy` is auto, yes
    or no for each node. `pace` says when epochs end."""

    def __init__(
        self, world: World, seed: int | str, suite: tuple[str, str], secrecy: dict[int, str] | None = None,
        pace: Pace | None = None,
    ) -> None:  # fmt: skip
        self.secrecy = secrecy or {}
        self.pace = pace or Pace()
        self.thief = Thief(SUITES[suite], KEYS[:FOREIGN], CLUSTER, seed) if self.secrecy else None
        self.world = world
        self.suite = SUITES[suite]
        self.refused: Counter[str] = Counter()
        self.sealed_at_ns: dict[bytes, int] = {}
        self.keys: dict[int, list[int]] = {}
        """The valid keys of each node, as indexes of KEYS. They survive its process, as on a disk."""
        self.in_use: dict[int, int] = {}
        self.tampering = 0.0
        """Share of the packets of which the attacker also sends a bad copy."""
        self._draw = Random(f"attacker {seed}")
        self._seed = seed
        self._recorded: list[tuple[int, Sealed]] = []
        self._strangers = [
            self.security(9, "stranger", FOREIGN, None),
            self.security(9, "other cluster", OLD, None, cluster="other"),
        ]

    def security(
        self, node: int, life: str, key: int, members: frozenset[int] | None, cluster: str = CLUSTER, mode: str = "no"
    ) -> PacketSecurity:
        """The packet security of a node. Its random numbers follow from the seed."""
        random = Random(f"security {self._seed} {life}")
        secrets = partial(Random(f"secrets {self._seed} {life}").randbytes, 32)
        return PacketSecurity(
            self.suite, KEYS[key], cluster, node, members, random.randbytes(16), partial(random.randbytes, 16),
            secrets if mode != "no" else None, secrecy_required=mode == "yes",
        )  # fmt: skip

    def begin(self, host: Host) -> Life:
        """Start packet security for a new life of a node's process."""
        self.keys.setdefault(host.node, [OLD])
        self.in_use.setdefault(host.node, OLD)
        return Life(self, host)

    def seal(self, host: Host, packets: list[tuple[int, bytes]]) -> list[bytes]:
        """The datagrams that carry these packets (target, frame). As on a node's link, packets for everybody that
        follow each other are sealed in one call. A frame that a node sends to itself is not sealed."""
        assert host.life is not None
        security = host.life.security
        datagrams: list[bytes] = []
        for to_all, run in groupby(packets, lambda packet: packet[0] == EVERYBODY):
            targets, frames = zip(*run, strict=True)
            if to_all:
                sealed = security.seal_all(frames)
            else:
                sealed = [
                    security.seal_for(target, frame) if target != host.node else frame
                    for target, frame in zip(targets, frames, strict=True)
                ]
            for target, frame, content in zip(targets, frames, sealed, strict=True):
                if target == host.node:
                    datagrams.append(frame)
                    continue
                self.note(content)
                if self.thief is not None:
                    self._show(host, content, target, frame)
                datagrams.append(Sealed.of(content, frame[_KIND_AT], host.node))
        return datagrams

    def _show(self, host: Host, datagram: bytes, target: int, frame: bytes) -> None:
        """The thief sees what a node sends. If all members of a ring have forward secrecy, data and tokens must be
        sealed with the key of the ring. Raises SimulationError if one is not."""
        assert self.thief is not None
        assert host.ring is not None
        if ring_frame_under_key(datagram, frame):
            members = host.ring.parts.membership.new_members
            hosts = self.world.hosts
            if all(not hosts[n].options.like_corosync and self.secrecy.get(n, "no") != "no" for n in members):
                raise SimulationError(f"node {host.node} does not seal with the key of the ring of {members}")
            self.world.counts["ring_without_secret"] += 1
        self.thief.record(datagram, target, frame)

    def note(self, datagram: bytes) -> None:
        """Remember when this datagram was sealed."""
        self.sealed_at_ns[bytes(datagram[_IDENTITY])] = self.world.now()

    def put(self, target: int, datagram: Sealed) -> None:
        """Put a datagram on the network. The attacker records it."""
        if target not in self.world.hosts:
            return
        if len(self._recorded) < RECORDED_MAX:
            self._recorded.append((target, datagram))
        else:
            self._recorded[self._draw.randrange(RECORDED_MAX)] = (target, datagram)
        self.world.network.send(self.world.now(), datagram.source, target, datagram)
        if self.tampering and self._draw.random() < self.tampering:
            self._tamper(target, datagram)

    # -- the attacker

    def replay(self, count: int) -> None:
        """Send this many recorded packets again, mostly to where they went before."""
        for _ in range(min(count, len(self._recorded))):
            target, datagram = self._draw.choice(self._recorded)
            if self._draw.random() < 0.2:
                target = self._draw.choice(sorted(self.world.hosts))
            self.world.network.send(self.world.now(), datagram.source, target, datagram)
            self.world.counts["packets_replayed"] += 1

    def _tamper(self, target: int, datagram: Sealed) -> None:
        """Send a bad copy of a packet that passes, to the same target."""
        draw = self._draw
        kind = draw.randrange(5)
        if kind == 0:
            content = datagram[: draw.randrange(len(datagram))]
        elif kind == 1:
            at = draw.randrange(len(datagram))
            content = datagram[:at] + bytes([datagram[at] ^ (1 << draw.randrange(8))]) + datagram[at + 1 :]
        elif kind == 2:
            counter = int.from_bytes(datagram[_COUNTER_AT : _COUNTER_AT + 8], "big") + draw.choice((1, 100, 1 << 40))
            content = datagram[:_COUNTER_AT] + counter.to_bytes(8, "big") + datagram[_COUNTER_AT + 8 :]
        else:
            content = self._strangers[kind - 3].seal(bytes(datagram[40:]).ljust(8, b"\1"))
        forgery = Sealed.of(content, datagram.kind, datagram.source, forged=True)
        self.world.network.send(self.world.now(), datagram.source, target, forgery)
        self.world.counts["packets_forged"] += 1

    def steal_memory(self, node: int) -> None:
        """The thief gets the memory of a node, if the node runs."""
        host = self.world.hosts[node]
        if self.thief is not None and host.ring is not None and host.life is not None:
            self.thief.steal_memory(host)
            self.world.counts["memories_stolen"] += 1

    # -- a change of the key

    def change_key(self, node: int, step: str) -> None:
        """Do one step of the change from OLD to NEW on one node, as its operator would: install, use or remove. The
        node may be down."""
        host = self.world.hosts[node]
        keys, life = self.keys.setdefault(node, [OLD]), host.life
        if step == "install" and NEW not in keys:
            keys.append(NEW)
            if life is not None:
                life.security.install_key(KEYS[NEW])
        elif step == "use":
            self.in_use[node] = NEW
            if life is not None:
                life.use(NEW)
        elif step == "remove" and OLD in keys and self.in_use.get(node) == NEW:
            keys.remove(OLD)
            if life is not None:
                life.security.remove_key(life.security.install_key(KEYS[OLD]))
            self.world.counts["key_changed"] += 1

    def marks(self) -> set[str]:
        """The marks of packet security that this run has reached. The life of each node ends here, so that its counters
        are included."""
        for host in self.world.hosts.values():
            if host.life is not None:
                host.life.end()
                host.life = None
        counted = {
            "sealed_challenged": "challenges_answered",
            "sealed_replay_refused": "replayed",
            "sealed_old_life_refused": "unknown_boot",
            "sealed_forgery_refused": "wrong_key",
            "sealed_foreign_refused": "other_cluster",
        }
        found = {mark for mark, name in counted.items() if self.refused[name]}
        found |= self._secrecy_marks()
        found |= {f"sealed_{mark}" for mark in ("key_changed", "held_packets_released") if self.world.counts[mark]}
        return found

    def _secrecy_marks(self) -> set[str]:
        if self.thief is None:
            return set()
        found = {f"secrecy_{mark}" for mark in ("memories_stolen", "ring_without_secret") if self.world.counts[mark]}
        if self.world.counts["epochs_begun"]:
            found.add("secrecy_next_epoch")
        if self.refused["other_ring"]:
            found.add("secrecy_other_ring")
        return found | {f"secrecy_{what}_opened" for what in self.thief.opened}
