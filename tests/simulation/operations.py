"""What can be done to a world, by name, so that a plan is data: it can be printed, cut down and run again."""

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
    """One thing done at one time. `name` is a function of this module, `args` are its arguments after the world."""

    at_ms: float
    name: str
    args: tuple[object, ...] = ()

    def apply(self, world: World) -> None:
        """Do it."""
        OPERATIONS[self.name](world, *self.args)


def burst(world: World, node: int, sizes: tuple[int, ...], safe: bool = False) -> None:
    """Clients of a node send; if the node is down, those of the next one that runs do."""
    alive = world.alive()
    if alive:
        chosen = node if node in alive else min(alive, key=lambda other: (other < node, other))
        world.hosts[chosen].submit(*sizes, safe=safe)


def start(world: World, node: int, lost_state: bool) -> None:
    """Start the node unless it runs."""
    if world.hosts[node].ring is None:
        world.start(node, lost_state=lost_state)


def crash(world: World, node: int) -> None:
    """Kill the node unless it is the last one."""
    if len(world.alive()) > 1:
        world.hosts[node].crash()


def crash_point(world: World, node: int, lists: int, state: State | None, behind_token: bool = False) -> None:
    """The node is to die among packets that it sends; see `CrashPoint`."""
    host = world.hosts[node]
    if host.ring is not None and len(world.alive()) > 1:
        host.crash_point = CrashPoint(lists, state, behind_token)


def leave(world: World, node: int) -> None:
    """Stop the node cleanly unless it is the last one."""
    if len(world.alive()) > 1:
        world.hosts[node].leave()


def freeze(world: World, node: int) -> None:
    """Stop scheduling the process."""
    world.hosts[node].freeze()


def thaw(world: World, node: int) -> None:
    """Let it run again."""
    world.hosts[node].thaw()


def reform(world: World, node: int) -> None:
    """The node asks for a new ring."""
    world.hosts[node].reform()


def member_dead(world: World, node: int, dead: int) -> None:
    """The host of the node is sure that the other one is gone."""
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
    """All links work again."""
    world.network.blocked.clear()


def loss(world: World, share: float) -> None:
    """Lose this share of all packets."""
    world.network.loss = share


def duplication(world: World, share: float, late_ms: float) -> None:
    """Duplicate this share of all packets; the copy is up to so late."""
    world.network.duplication = share
    world.network.reorder_ns = int(late_ms * MS)


def reordering(world: World, share: float, late_ms: float) -> None:
    """Deliver this share of all packets up to so late, past later ones."""
    world.network.reordering = share
    world.network.reorder_ns = int(late_ms * MS)


def slow(world: World, links: Links, extra_ms: float) -> None:
    """These links take so much longer."""
    world.network.slow_ns.update(dict.fromkeys(links, int(extra_ms * MS)))


def normal_speed(world: World) -> None:
    """All links are as fast as ever."""
    world.network.slow_ns.clear()


def lose(world: World, kind: Kind | None, source: int | None, target: int | None, count: int | None) -> None:
    """Lose the next packets of this kind, source and target."""
    world.network.rules.append(Rule(kind, source, target, count))


def delay(world: World, kind: Kind | None, count: int, late_ms: float) -> None:
    """The next packets of this kind come so much later."""
    world.network.rules.append(Rule(kind, count=count, delay_ns=int(late_ms * MS)))


def no_rules(world: World) -> None:
    """Chosen packets are lost or delayed no more."""
    world.network.rules.clear()


def tamper(world: World, share: float) -> None:
    """The attacker sends a bad copy of this share of all packets, where packets are sealed."""
    if world.sealing is not None:
        world.sealing.tampering = share


def replay(world: World, count: int) -> None:
    """The attacker sends so many recorded packets again, where packets are sealed."""
    if world.sealing is not None:
        world.sealing.replay(count)


def change_key(world: World, node: int, step: str) -> None:
    """One step of a change of the key on one node, where packets are sealed."""
    if world.sealing is not None:
        world.sealing.change_key(node, step)
    if world.wires is not None:
        world.wires.change_key(node, step)


def steal_memory(world: World, node: int) -> None:
    """A thief gets the memory of the node, if it runs, where rings are forward secret."""
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
