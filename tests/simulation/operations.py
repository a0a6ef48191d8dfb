"""The operations on a world. Each has a name, so that a plan is data: it can be printed, made smaller and run again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from services.totem.ring.events import State
from services.totem.wire.frames import Kind
from tests.simulation.crashes import CrashPoint
from tests.simulation.knet_faults import KNET_OPERATIONS
from tests.simulation.network import Rule
from tests.simulation.world import MS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.world import World

Links = tuple[tuple[int, int], ...]


class Op(NamedTuple):
    """One operation at one time. `name` is a key of OPERATIONS. `args` are its arguments after the world."""

    at_ms: float
    name: str
    args: tuple[object, ...] = ()

    def apply(self, world: World) -> None:
        """Do this operation."""
        OPERATIONS[self.name](world, *self.args)


def burst(world: World, node: int, sizes: tuple[int, ...], safe: bool = False) -> None:
    """Clients of a node send messages. If the node is down, clients of the next node that runs do."""
    alive = world.alive()
    if alive:
        chosen = node if node in alive else min(alive, key=lambda other: (other < node, other))
        world.hosts[chosen].submit(*sizes, safe=safe)


def start(world: World, node: int, lost_state: bool) -> None:
    """Start the node unless it runs."""
    if world.hosts[node].ring is None:
        world.start(node, lost_state=lost_state)


def crash(world: World, node: int) -> None:
    """Kill the node unless it is the last one that runs."""
    if len(world.alive()) > 1:
        world.hosts[node].crash()


def crash_point(world: World, node: int, lists: int, state: State | None, behind_token: bool = False) -> None:
    """Let the node die among packets that it will send; see `CrashPoint`."""
    host = world.hosts[node]
    if host.ring is not None and len(world.alive()) > 1:
        host.crash_point = CrashPoint(lists, state, behind_token)


def leave(world: World, node: int) -> None:
    """Stop the node cleanly unless it is the last one that runs."""
    if len(world.alive()) > 1:
        world.hosts[node].leave()


def freeze(world: World, node: int) -> None:
    """Stop scheduling the process."""
    world.hosts[node].freeze()


def thaw(world: World, node: int) -> None:
    """Schedule the process again."""
    world.hosts[node].thaw()


def reform(world: World, node: int) -> None:
    """The node asks for a new ring."""
    world.hosts[node].reform()


def member_dead(world: World, node: int, dead: int) -> None:
    """The host of `node` tells its ring that `dead` is certainly gone."""
    world.hosts[node].member_dead(dead)


def interface_changed(world: World, node: int) -> None:
    """The node's address was lost or came back."""
    world.hosts[node].interface_changed()


def partition(world: World, groups: tuple[tuple[int, ...], ...]) -> None:
    """Cut the links between the groups, both ways."""
    world.network.partition(groups)


def block(world: World, links: Links) -> None:
    """Cut these links, each in its direction only."""
    world.network.blocked.update(links)


def heal(world: World) -> None:
    """Join all links that were cut."""
    world.network.blocked.clear()


def loss(world: World, share: float) -> None:
    """Lose this share of all packets."""
    world.network.loss = share


def duplication(world: World, share: float, late_ms: float) -> None:
    """Duplicate this share of all packets. A copy arrives up to `late_ms` later."""
    world.network.duplication = share
    world.network.reorder_ns = int(late_ms * MS)


def reordering(world: World, share: float, late_ms: float) -> None:
    """Delay this share of all packets by up to `late_ms`, so that later ones overtake them."""
    world.network.reordering = share
    world.network.reorder_ns = int(late_ms * MS)


def slow(world: World, links: Links, extra_ms: float) -> None:
    """Packets on these links take `extra_ms` longer."""
    world.network.slow_ns.update(dict.fromkeys(links, int(extra_ms * MS)))


def normal_speed(world: World) -> None:
    """No link is slow any more."""
    world.network.slow_ns.clear()


def lose(world: World, kind: Kind | None, source: int | None, target: int | None, count: int | None) -> None:
    """Lose the next packets of this kind, source and target."""
    world.network.rules.append(Rule(kind, source, target, count))


def delay(world: World, kind: Kind | None, count: int, late_ms: float) -> None:
    """Delay the next `count` packets of this kind by `late_ms`."""
    world.network.rules.append(Rule(kind, count=count, delay_ns=int(late_ms * MS)))


def no_rules(world: World) -> None:
    """No chosen packets are lost or delayed any more."""
    world.network.rules.clear()


def tamper(world: World, share: float) -> None:
    """Where packets are sealed, the attacker sends a bad copy of this share of all packets."""
    if world.sealing is not None:
        world.sealing.tampering = share


def replay(world: World, count: int) -> None:
    """Where packets are sealed, the attacker sends this many recorded packets again."""
    if world.sealing is not None:
        world.sealing.replay(count)


def change_key(world: World, node: int, step: str) -> None:
    """Do one step of a key change on one node: install, use or remove. Nothing happens if packets are neither sealed
    nor sent over knet."""
    if world.sealing is not None:
        world.sealing.change_key(node, step)
    if world.wires is not None:
        world.wires.change_key(node, step)


def steal_memory(world: World, node: int) -> None:
    """Where rings are forward secret, a thief gets the memory of the node, if the node runs."""
    if world.sealing is not None:
        world.sealing.steal_memory(node)


OPERATIONS: dict[str, Callable[..., None]] = KNET_OPERATIONS | {
    operation.__name__: operation
    for operation in (
        burst, start, crash, crash_point, leave, freeze, thaw, reform, member_dead, interface_changed, partition,
        block, heal, loss, duplication, reordering, slow, normal_speed, lose, delay, no_rules, tamper, replay,
        change_key, steal_memory,
    )
}  # fmt: skip
