"""Short stories in the ideal world, each with the one situation that some faults need. All of them are good traces.

Nodes 1, 2 and 3 begin alone, and form the ring that the story is about; in the end all of them are together again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.checker.model_rings import Cluster
from tests.checker.stories import LIMITS

if TYPE_CHECKING:
    from tests.checker.base import Event, Ring


def _ring_of_three() -> tuple[Cluster, Ring]:
    world = Cluster(LIMITS, (1, 2, 3))
    return world, world.form((1, 2, 3))


def _part(world: Cluster) -> list[Event]:
    """Node 3 goes its own way, and comes back in the end."""
    world.form((1, 2))
    world.form((3,))
    return world.finish((1, 2, 3))


def _exchange(world: Cluster, ring: Ring) -> None:
    for node in (1, 2, 3):
        world.submit(node)
        world.submit(node, "safe")
    world.rotate(ring, 4)


def steady() -> list[Event]:
    """Everybody talks, nothing happens."""
    world, ring = _ring_of_three()
    _exchange(world, ring)
    return world.finish((1, 2, 3))


def one_alone() -> list[Event]:
    """A ring of one node."""
    world = Cluster(LIMITS, (1,))
    world.submit(1)
    world.rotate((1, 5), 2)
    return world.finish((1,))


def crash() -> list[Event]:
    """Node 3 crashes and comes back as a new life."""
    world, ring = _ring_of_three()
    _exchange(world, ring)
    world.end_life(3)
    world.form((1, 2))
    world.start(3)
    world.form((3,))
    return world.finish((1, 2, 3))


def departure() -> list[Event]:
    """Node 1 sends two messages, all deliver them, and node 3 parts."""
    world, ring = _ring_of_three()
    world.submit(1)
    world.submit(1)
    world.rotate(ring, 2)
    return _part(world)


def departure_after_3() -> list[Event]:
    """Node 3 sends a message, all deliver it, and node 3 parts."""
    world, ring = _ring_of_three()
    world.submit(3)
    world.rotate(ring, 2)
    return _part(world)


def unheard() -> list[Event]:
    """Node 3 sends a message that nobody else receives, and parts."""
    world, ring = _ring_of_three()
    world.submit(3)
    world.rotate(ring, 1, lambda seq, receiver: True)
    return _part(world)


def answer() -> list[Event]:
    """Node 1 asks, node 2 answers, and node 3 parts."""
    world, ring = _ring_of_three()
    world.submit(1)
    world.rotate(ring, 2)
    world.submit(2)
    world.rotate(ring, 2)
    return _part(world)


def concurrent() -> list[Event]:
    """Nodes 1 and 2 send without having heard each other, and node 3 parts when all is delivered."""
    world, ring = _ring_of_three()
    world.submit(1)
    world.submit(2)
    world.rotate(ring, 1, lambda seq, receiver: receiver == 2)
    world.rotate(ring, 2)
    return _part(world)


def held_back() -> list[Event]:
    """The same, but what node 1 sends is SAFE."""
    world, ring = _ring_of_three()
    world.submit(1, "safe")
    world.submit(2)
    world.rotate(ring, 4)
    return _part(world)


def hole() -> list[Event]:
    """Node 3 misses a message of node 1 but has the next one, of node 2, and parts."""
    world, ring = _ring_of_three()
    world.submit(1)
    world.submit(2)
    first = world.tokens[ring].seq + 1
    world.rotate(ring, 1, lambda seq, receiver: receiver == 3 and seq == first)
    return _part(world)


def safe_after() -> list[Event]:
    """Node 1 sends, then node 3 a SAFE message; all deliver both, and node 3 parts."""
    world, ring = _ring_of_three()
    world.submit(1)
    world.rotate(ring, 1)
    world.submit(3, "safe")
    world.rotate(ring, 4)
    return _part(world)


def safe_last() -> list[Event]:
    """Node 1 sends a SAFE message, all deliver it, and node 3 parts."""
    world, ring = _ring_of_three()
    world.submit(1, "safe")
    world.rotate(ring, 4)
    return _part(world)


def last_words() -> list[Event]:
    """Node 1 sends a last message in the last ring."""
    world, ring = _ring_of_three()
    _exchange(world, ring)
    world.submit(1)
    return world.finish((1, 2, 3))


def last_words_safe() -> list[Event]:
    """Node 1 sends a last message in the last ring, which is SAFE."""
    world, _ = _ring_of_three()
    world.submit(1, "safe")
    return world.finish((1, 2, 3))


def pause() -> list[Event]:
    """Node 3 is paused, the others go on without it, and it wakes up."""
    world, ring = _ring_of_three()
    _exchange(world, ring)
    world.freeze(3)
    world.form((1, 2))
    world.thaw(3)
    world.form((3,))
    return world.finish((1, 2, 3))


def half_installed() -> list[Event]:
    """Of a new ring of 1 and 2 only node 1 becomes Operational."""
    world = Cluster(LIMITS, (1, 2))
    world.form((1, 2))
    world.form((1, 2), installs=(1,))
    return world.finish((1, 2))


def two_halves() -> list[Event]:
    """Of a new ring of 1 and 2 only node 1 becomes Operational; of the next only node 2."""
    world = Cluster(LIMITS, (1, 2))
    world.form((1, 2))
    world.form((1, 2), installs=(1,))
    world.form((1, 2), installs=(2,))
    return world.finish((1, 2))


def loss() -> list[Event]:
    """A packet is lost on its way to node 3 and sent again."""
    world, ring = _ring_of_three()
    world.submit(1)
    world.rotate(ring, 1, lambda seq, receiver: receiver == 3)
    world.rotate(ring, 3)
    return world.finish((1, 2, 3))


def burst(max_messages: int = LIMITS.max_messages) -> list[Event]:
    """Node 1 has much to send; `max_messages` is the window that it keeps to."""
    world, ring = _ring_of_three()
    world.max_messages = max_messages
    for _ in range(40):
        world.submit(1)
    world.rotate(ring, 5)
    return world.finish((1, 2, 3))
