"""Faults of single links between two nodes: those that a plan draws, and what they do to a world.

A fault of this module leaves the other links as they are. Runs with knet also have the faults of `faults` (partitions,
loss, crashes and so on), which hit all links at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.totem.ring.events import State
from tests.simulation.knet_wires import Trap

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.simulation.faults import Setting
    from tests.simulation.world import World

Paths = tuple[tuple[int, int, int], ...]
"""(sender, receiver, link) for each direction of a link."""
Step = tuple[float, str, tuple[object, ...]]
"""(time in ms, name of a function in OPERATIONS, its arguments after the world)."""

_FIELDS = ("cut", "loss", "slow_ms", "size_max")


# -- what is done to a world


def wire_fault(world: World, paths: Paths, name: str, value: float) -> None:
    """Set this fault, a field of `Wire`, on these directions of links."""
    if world.wires is not None and name in _FIELDS:
        for source, target, link in paths:
            setattr(world.wires.wire(source, target, link), name, value)


def cable(world: World, node: int, link: int, cut: bool) -> None:
    """Pull a cable of a node, or plug it in."""
    if world.wires is not None:
        world.wires.plug(node, link, cut=cut)


def interface_mtu(world: World, node: int, link: int, mtu: int) -> None:
    """The interface of a node carries packets of at most `mtu` bytes from now on. 0 restores the plan's MTU."""
    if world.wires is not None:
        world.wires.interface_mtu[node, link] = mtu or world.wires.plan.interface_mtu


def skip_numbers(world: World, node: int, count: int) -> None:
    """A node leaves out this many packet numbers, as if it had sent so many packets to somebody else."""
    if (life := world.hosts[node].knet_life) is not None:
        for _ in range(count):
            life.knet.numbers.next()


def trap(world: World, node: int, state: State, lists: int, duration_ms: float) -> None:
    """Set a trap: the cable that carries a node's data is pulled when the node sends in this state."""
    if world.wires is not None:
        world.wires.traps[node] = Trap(state, lists, duration_ms)


KNET_OPERATIONS: dict[str, Callable[..., None]] = {
    operation.__name__: operation for operation in (wire_fault, cable, interface_mtu, skip_numbers, trap)
}


# -- the faults


def _link(s: Setting, links: tuple[int, ...]) -> int:
    return s.draw.choice(links)


def _pairs(s: Setting, link: int, *, both_ways: bool) -> Paths:
    pairs = [(a, b) for a in s.nodes for b in s.nodes if a != b]
    some = s.draw.sample(pairs, s.draw.randint(1, min(4, len(pairs))))
    found = [(a, b, link) for a, b in some]
    return tuple(found + [(b, a, link) for a, b in some] if both_ways else found)


def _for_a_while(s: Setting, at: float, paths: Paths, name: str, value: float, sound: float) -> list[Step]:
    end = at + s.duration_ms()
    return [(at, "wire_fault", (paths, name, value)), (end, "wire_fault", (paths, name, sound))]


def cable_pulled(s: Setting, at: float, links: tuple[int, ...]) -> list[Step]:
    """A node's cable is pulled and plugged in again."""
    node, link = s.node(), _link(s, links)
    return [(at, "cable", (node, link, True)), (at + s.duration_ms(), "cable", (node, link, False))]


def cables_one_by_one(s: Setting, at: float, links: tuple[int, ...]) -> list[Step]:
    """The cables of a node are pulled one after the other. Each is plugged in again shortly before the next one is
    pulled, or shortly after."""
    node, each_ms = s.node(), s.draw.choice((5.0, 50.0, 400.0))
    steps: list[Step] = []
    for i, link in enumerate(links):
        begin = at + i * each_ms
        end = begin + each_ms * s.draw.uniform(0.7, 1.1)
        steps += [(begin, "cable", (node, link, True)), (end, "cable", (node, link, False))]
    return steps


def switch_dies(s: Setting, at: float, links: tuple[int, ...]) -> list[Step]:
    """A switch fails, so one link is gone between all nodes."""
    link = _link(s, links)
    paths = tuple((a, b, link) for a in s.nodes for b in s.nodes if a != b)
    return _for_a_while(s, at, paths, "cut", True, False)


def flapping(s: Setting, at: float, links: tuple[int, ...]) -> list[Step]:
    """The cable of a node is pulled and plugged in several times."""
    node, link, period = s.node(), _link(s, links), s.draw.choice((4.0, 30.0, 150.0, 700.0))
    steps: list[Step] = []
    for i in range(s.draw.randint(3, 12)):
        begin = at + i * period
        end = begin + period * s.draw.uniform(0.2, 0.8)
        steps += [(begin, "cable", (node, link, True)), (end, "cable", (node, link, False))]
    return steps


def link_one_way(s: Setting, at: float, links: tuple[int, ...]) -> list[Step]:
    """A link works in one direction only."""
    return _for_a_while(s, at, _pairs(s, _link(s, links), both_ways=False), "cut", True, False)


def link_lossy(s: Setting, at: float, links: tuple[int, ...]) -> list[Step]:
    """A link loses packets at random."""
    paths = _pairs(s, _link(s, links), both_ways=s.draw.random() < 0.5)
    return _for_a_while(s, at, paths, "loss", s.draw.choice((0.02, 0.1, 0.4)), 0.0)


def link_slow(s: Setting, at: float, links: tuple[int, ...]) -> list[Step]:
    """A link becomes slow, so that packets on other links overtake those on this one."""
    paths = _pairs(s, _link(s, links), both_ways=s.draw.random() < 0.5)
    slow_ms = s.draw.choice((2.0, 15.0, 0.1 * s.token_ms, 0.7 * s.token_ms))
    return _for_a_while(s, at, paths, "slow_ms", slow_ms, 0.0)


def link_narrow(s: Setting, at: float, links: tuple[int, ...]) -> list[Step]:
    """A link loses large packets only, and the sender is not told."""
    paths = _pairs(s, _link(s, links), both_ways=True)
    return _for_a_while(s, at, paths, "size_max", s.draw.choice((560, 700, 1200, 1400)), 65_535)


def interface_narrow(s: Setting, at: float, links: tuple[int, ...]) -> list[Step]:
    """An interface gets a smaller MTU and refuses larger packets."""
    node, link, mtu = s.node(), _link(s, links), s.draw.choice((600, 1000, 1300))
    return [(at, "interface_mtu", (node, link, mtu)), (at + s.duration_ms(), "interface_mtu", (node, link, 0))]


def numbers_far_away(s: Setting, at: float, links: tuple[int, ...]) -> list[Step]:
    """A node's packet numbers jump far ahead, or past their end. In half of the cases nobody hears the node while they
    do."""
    node = s.node()
    count = s.draw.choice((100, 3000, 4097, 9000, 33_000, 64_900, 64_900))
    paths = tuple((node, other, link) for other in s.nodes if other != node for link in links)
    mute: list[Step] = [
        (at, "wire_fault", (paths, "cut", True)),
        (at + s.draw.uniform(1, 60), "wire_fault", (paths, "cut", False)),
    ]
    return [*(mute if s.draw.random() < 0.5 else []), (at + 0.5, "skip_numbers", (node, count))]


def cable_pulled_in_state(s: Setting, at: float, links: tuple[int, ...]) -> list[Step]:
    """The cable that carries a node's data is pulled while a ring is formed, or while it works."""
    state = s.draw.choice((State.OPERATIONAL, State.GATHER, State.COMMIT, State.COMMIT, State.RECOVERY))
    nodes = s.draw.sample(s.nodes, s.draw.randint(1, min(2, len(s.nodes))))
    traps: list[Step] = [(at, "trap", (node, state, s.draw.randint(1, 3), s.duration_ms())) for node in nodes]
    return [*traps, (at + 1, "reform", (s.node(),))]


def restarted_at_once(s: Setting, at: float, links: tuple[int, ...]) -> list[Step]:
    """A node dies and runs again before the others have given up its links."""
    node = s.node()
    return [(at, "crash", (node,)), (at + s.draw.choice((0.0, 5.0, 60.0, 300.0)), "start", (node, False))]


def key_changed_under_knet(s: Setting, at: float, links: tuple[int, ...]) -> list[Step]:
    """The key is changed in three steps. All nodes do a step, at different moments, before the next one begins."""
    steps: list[Step] = []
    for step in ("install", "use", "remove"):
        steps += [(at + s.draw.uniform(0, 400), "change_key", (node, step)) for node in s.nodes]
        at += 500
    return steps


KNET_FAULTS: dict[str, Callable[[Setting, float, tuple[int, ...]], list[Step]]] = {
    fault.__name__: fault
    for fault in (
        cable_pulled, cables_one_by_one, switch_dies, flapping, link_one_way, link_lossy, link_slow, link_narrow,
        interface_narrow, numbers_far_away, cable_pulled_in_state, restarted_at_once,
        key_changed_under_knet,
    )
}  # fmt: skip


def draw_kinds(draw: Random) -> list[str]:
    """The kinds of link faults in one run."""
    return draw.choices(sorted(KNET_FAULTS), k=draw.randint(4, 9))
