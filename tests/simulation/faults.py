"""The kinds of faults that a plan draws from. Each function gives the operations of one fault that begins at `at` ms.

Most faults end by themselves: a partition heals, a frozen process runs again, a crashed node comes back. The run ends
the rest when the time for faults is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from services.totem.ring.events import State
from services.totem.wire.frames import Kind
from tests.simulation.operations import Op

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random


class Setting(NamedTuple):
    """What a fault may need to know of the run."""

    draw: Random
    nodes: tuple[int, ...]
    token_ms: int
    consensus_ms: int

    def node(self) -> int:
        """Any node."""
        return self.draw.choice(self.nodes)

    def sides(self, count: int) -> tuple[tuple[int, ...], ...]:
        """All nodes in this many groups, none empty."""
        shuffled = self.draw.sample(self.nodes, len(self.nodes))
        cuts = sorted(self.draw.sample(range(1, len(shuffled)), count - 1))
        return tuple(tuple(shuffled[a:b]) for a, b in zip([0, *cuts], [*cuts, len(shuffled)], strict=True))

    def sizes(self, count: int) -> tuple[int, ...]:
        """Sizes of a few small messages."""
        return tuple(self.draw.randrange(400) for _ in range(count))

    def duration_ms(self) -> float:
        """How long a fault lasts: near the time-outs, so that some faults are noticed and some are not."""
        return self.draw.choice((0.1, 0.5, 1.2, 3.0)) * self.token_ms * self.draw.uniform(0.8, 1.6) + 20


def loss(s: Setting, at: float) -> list[Op]:
    """Packets are lost at random."""
    share = s.draw.choice((0.01, 0.05, 0.1, 0.3))
    return [Op(at, "loss", (share,)), Op(at + s.duration_ms(), "loss", (0.0,))]


def duplication(s: Setting, at: float) -> list[Op]:
    """Packets come twice."""
    late = s.draw.choice((0.0, 2.0, 50.0, 3.0 * s.token_ms))
    end = Op(at + s.duration_ms(), "duplication", (0.0, 5.0))
    return [Op(at, "duplication", (s.draw.uniform(0.05, 0.6), late)), end]


def reordering(s: Setting, at: float) -> list[Op]:
    """Packets overtake each other."""
    late = s.draw.choice((1.0, 5.0, 40.0))
    end = Op(at + s.duration_ms(), "reordering", (0.0, 5.0))
    return [Op(at, "reordering", (s.draw.uniform(0.05, 0.6), late)), end]


def slow(s: Setting, at: float) -> list[Op]:
    """Some links become slow, up to beyond the token time-out."""
    links = tuple((a, b) for a in s.nodes for b in s.nodes if a != b and s.draw.random() < 0.3)
    extra = s.draw.choice((3.0, 0.02 * s.token_ms, 0.3 * s.token_ms, 1.2 * s.token_ms))
    return [Op(at, "slow", (links, extra)), Op(at + s.duration_ms(), "normal_speed")]


def one_way(s: Setting, at: float) -> list[Op]:
    """Some links work in one direction only."""
    pairs = [(a, b) for a in s.nodes for b in s.nodes if a != b]
    links = tuple(s.draw.sample(pairs, s.draw.randint(1, min(4, len(pairs)))))
    return [Op(at, "block", (links,)), Op(at + s.duration_ms(), "heal")]


def partition(s: Setting, at: float) -> list[Op]:
    """The network falls apart, into three parts if there are enough nodes, and comes together again."""
    parts = 3 if len(s.nodes) > 2 and s.draw.random() < 0.4 else 2
    return [Op(at, "partition", (s.sides(parts),)), Op(at + s.duration_ms(), "heal")]


def pause(s: Setting, at: float) -> list[Op]:
    """A process is frozen for a while."""
    node = s.node()
    return [Op(at, "freeze", (node,)), Op(at + s.duration_ms(), "thaw", (node,))]


def crash(s: Setting, at: float) -> list[Op]:
    """A node dies. Mostly it comes back, now and then without its state file."""
    node = s.node()
    return [Op(at, "crash", (node,)), *_return(s, at, node)]


def _return(s: Setting, at: float, node: int) -> list[Op]:
    if s.draw.random() < 0.1:
        return []
    return [Op(at + s.duration_ms(), "start", (node, s.draw.random() < 0.35))]


def crash_among_packets(s: Setting, at: float) -> list[Op]:
    """A node dies while it sends, after some of the packets that it was about to send."""
    node = s.node()
    bursts = [Op(at + i, "burst", (node, s.sizes(4))) for i in range(1, 4)]
    armed = Op(at, "crash_point", (node, s.draw.randint(1, 4), None))
    return [armed, *bursts, Op(at + 100, "crash", (node,)), *_return(s, at + 100, node)]


def crash_behind_token(s: Setting, at: float) -> list[Op]:
    """A node passes the token on and dies before all the packets that were to follow it have left. Nobody can send the
    missing ones again."""
    node = s.node()
    bursts = [Op(at + i, "burst", (s.draw.choice((node, s.node())), s.sizes(4))) for i in range(1, 5)]
    armed = Op(at, "crash_point", (node, s.draw.randint(1, 2), None, True))
    return [armed, *bursts, Op(at + 100, "crash", (node,)), *_return(s, at + 100, node)]


def unstable(s: Setting, at: float) -> list[Op]:
    """The ring breaks by a crash or a partition while SAFE messages and others are on their way."""
    node = s.node()
    bursts = [Op(at, "burst", (node, s.sizes(2), True)), Op(at + 0.001, "burst", (s.node(), s.sizes(3)))]
    later = at + s.draw.uniform(0.1, 1.5 * len(s.nodes))
    if s.draw.random() < 0.5:
        return [*bursts, Op(later, "partition", (s.sides(2),)), Op(later + s.duration_ms(), "heal")]
    gone = s.node()
    return [*bursts, Op(later, "crash", (gone,)), *_return(s, later, gone)]


def crash_in_membership(s: Setting, at: float) -> list[Op]:
    """A node dies while a ring is formed."""
    node = s.node()
    state = s.draw.choice((State.GATHER, State.COMMIT, State.RECOVERY))
    armed = Op(at, "crash_point", (node, s.draw.randint(1, 3), state))
    return [armed, Op(at + 1, "reform", (s.node(),)), Op(at + 150, "crash", (node,)), *_return(s, at + 150, node)]


def leave(s: Setting, at: float) -> list[Op]:
    """A node is stopped cleanly and started again."""
    node = s.node()
    return [Op(at, "leave", (node,)), *_return(s, at, node)]


def known_crash(s: Setting, at: float) -> list[Op]:
    """A node dies, and the hosts of some others tell their rings so. They do it at once, or while the rings notice it
    themselves."""
    node = s.node()
    others = [other for other in s.nodes if other != node]
    told = s.draw.sample(others, s.draw.randint(1, len(others)))
    late = s.draw.choice((0.1, 1.0, 50.0, 1.05 * s.token_ms))
    alarms = [Op(at + late * s.draw.uniform(0.5, 1.5), "member_dead", (other, node)) for other in told]
    return [Op(at, "crash", (node,)), *alarms, *_return(s, at, node)]


def false_alarm(s: Setting, at: float) -> list[Op]:
    """A host tells its ring that a node is gone. That node runs, unless another fault has stopped it."""
    alarms = s.draw.randint(1, 3)
    pairs = [s.draw.sample(s.nodes, 2) for _ in range(alarms)]
    ops = [Op(at + i * s.draw.uniform(0, 20), "member_dead", (a, b)) for i, (a, b) in enumerate(pairs)]
    return [*ops, Op(at, "reform", (s.node(),))] if s.draw.random() < 0.3 else ops


def reform(s: Setting, at: float) -> list[Op]:
    """One node asks for a new ring, or several nodes do so in a row."""
    name = s.draw.choice(("reform", "interface_changed"))
    return [Op(at + i * s.draw.uniform(0, 20), name, (s.node(),)) for i in range(s.draw.randint(1, 3))]


def lost_packets(s: Setting, at: float) -> list[Op]:
    """Chosen packets are lost, for example the token. The ring works meanwhile, or is formed anew."""
    kind = s.draw.choice((Kind.TOKEN, Kind.TOKEN, Kind.COMMIT, Kind.COMMIT, Kind.JOIN, Kind.MCAST, Kind.HOLD_CANCEL))
    ops = [Op(at, "lose", (kind, None, None, s.draw.choice((1, 1, 2, 6, 20))))]
    if kind in (Kind.COMMIT, Kind.JOIN) or s.draw.random() < 0.4:
        ops.append(Op(at, "reform", (s.node(),)))
    return [*ops, Op(at + s.duration_ms(), "no_rules")]


def late_packets(s: Setting, at: float) -> list[Op]:
    """Chosen packets come much later. By then there may be another ring."""
    kind = s.draw.choice((None, *Kind))
    late = s.draw.choice((0.2, 0.9, 2.0)) * s.token_ms
    ops = [Op(at, "delay", (kind, s.draw.choice((1, 5, 40)), late))]
    if s.draw.random() < 0.5:
        ops.append(Op(at, "reform", (s.node(),)))
    return [*ops, Op(at + s.duration_ms(), "no_rules")]


def token_lost_while_forming(s: Setting, at: float) -> list[Op]:
    """While a ring is formed, every token or every commit token is lost, for longer than the token time-out."""
    kind = s.draw.choice((Kind.TOKEN, Kind.COMMIT))
    ops = [
        Op(at, "reform", (s.node(),)),
        Op(at + s.draw.choice((0.0, 0.5, 2.0, 5.0)), "lose", (kind, None, None, None)),
    ]
    return [*ops, Op(at + s.draw.uniform(1.1, 2.5) * s.token_ms, "no_rules")]


def deaf(s: Setting, at: float) -> list[Op]:
    """A node gets tokens but no data for a while. When that ends, it asks for many packets at once."""
    node = s.node()
    bursts = [
        Op(at + 5 * i, "burst", (s.node(), tuple(s.draw.randrange(700, 3000) for _ in range(12)))) for i in range(5)
    ]
    return [Op(at, "lose", (Kind.MCAST, None, node, None)), *bursts, Op(at + s.draw.uniform(30, 800), "no_rules")]


def unheard_sender(s: Setting, at: float) -> list[Op]:
    """A node sends messages and dies. Nobody has received these, or the first of these. Later messages of other nodes
    have reached everybody."""
    node = s.node()
    others = [other for other in s.nodes if other != node]
    count = s.draw.choice((None, len(others), 2 * len(others), len(others) + 1))
    ops = [
        Op(at, "lose", (Kind.MCAST, node, None, count)),
        Op(at, "burst", (node, s.sizes(6))),
        *[Op(at + i, "burst", (s.draw.choice(others), s.sizes(4))) for i in (1, 2, 4)],
        Op(at + s.draw.uniform(4, 30), "crash", (node,)),
    ]
    return [*ops, Op(at + 40, "no_rules"), *_return(s, at + 40, node)]


def forgeries(s: Setting, at: float) -> list[Op]:
    """An attacker without the key sends bad copies of packets that pass."""
    return [Op(at, "tamper", (s.draw.choice((0.05, 0.3, 0.9)),)), Op(at + s.duration_ms(), "tamper", (0.0,))]


def replays(s: Setting, at: float) -> list[Op]:
    """An attacker sends packets again that he has recorded, also to a node that was restarted since."""
    node = s.node()
    again = [Op(at + s.draw.uniform(0, 800), "replay", (s.draw.choice((1, 20, 300)),)) for _ in range(4)]
    if s.draw.random() < 0.5:
        return again
    back = Op(at + s.draw.uniform(1, 300), "start", (node, False))
    return [Op(at, "crash", (node,)), back, *again]


def key_change(s: Setting, at: float) -> list[Op]:
    """The key is changed in three steps. All nodes do a step, at different moments, before the next one begins."""
    ops = []
    for step in ("install", "use", "remove"):
        ops += [Op(at + s.draw.uniform(0, 400), "change_key", (node, step)) for node in s.nodes]
        at += 500
    return ops


SEALED_FAULTS: dict[str, Callable[[Setting, float], list[Op]]] = {
    fault.__name__: fault for fault in (forgeries, replays, key_change)
}
"""Faults that exist only where packets are sealed."""

FAULTS: dict[str, Callable[[Setting, float], list[Op]]] = {
    fault.__name__: fault
    for fault in (
        loss, duplication, reordering, slow, one_way, partition, pause, crash, crash_among_packets, crash_behind_token,
        crash_in_membership, known_crash, false_alarm, leave, reform, lost_packets, late_packets,
        token_lost_while_forming, deaf, unheard_sender, unstable,
    )
}  # fmt: skip
