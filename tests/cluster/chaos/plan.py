"""What goes wrong in a run, and when: a function of the seed, the number of nodes and links, and the length alone.

Kinds come in rounds, each kind once a round in an order of its own, so that all kinds come equally often. Faults may
overlap, two at a time.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

PAUSE_S = (0.4, 2.2)
"""Seconds between the beginnings of two faults, from and to."""


@dataclass(frozen=True)
class Kind:
    """A kind of fault: how long it lasts, and whether it concerns a service, the network or a whole node."""

    name: str
    lasts_s: tuple[float, float]
    argument: str = ""


LINK_KINDS = (
    Kind("cut_link", (0.2, 4.0)),
    Kind("cut_link_one_way", (0.2, 4.0)),
    Kind("lose_on_link", (0.5, 3.0)),
    Kind("unplug_all", (0.2, 4.0)),
)
"""Further kinds of faults for nodes with several links."""


def kinds(services: tuple[str, ...], links: int = 1) -> tuple[Kind, ...]:
    """All kinds of faults for nodes with these services and this number of links."""
    instant = (0.0, 0.0)
    return (
        *(LINK_KINDS if links > 1 else ()),
        *(Kind("kill", instant, service) for service in services),
        Kind("kill_member", (0.1, 1.0)),
        *(Kind("freeze", (0.1, 2.5), service) for service in services),
        Kind("freeze_member", (0.2, 2.5)),
        Kind("freeze_node", (0.2, 4.0)),
        Kind("crash_node", (0.2, 3.0)),
        Kind("lose_state", (0.2, 3.0)),
        Kind("interface_down", (0.2, 4.0)),
        Kind("unplug", (0.2, 4.0)),
        Kind("one_way", (0.2, 4.0)),
        Kind("loss", (0.5, 3.0)),
        Kind("partition", (0.2, 4.0)),
    )


@dataclass(frozen=True)
class Step:
    """One fault. Times are seconds since the beginning of the run."""

    at_s: float
    until_s: float
    kind: str
    argument: str
    node: int
    """The node it happens to, or the first of the smaller side."""
    draw: int
    """A random number for further choices of the fault."""

    def __str__(self) -> str:
        what = f"{self.kind} {self.argument}".strip()
        return f"{what} on node {self.node}" + (f" for {self.until_s - self.at_s:.1f} s" if self.lasts else "")

    @property
    def lasts(self) -> bool:
        """True if the fault has to be undone."""
        return self.until_s > self.at_s

    @property
    def what(self) -> str:
        """The name under which it is counted."""
        return f"{self.kind} {self.argument}".strip()


def make_plan(seed: int, nodes: int, seconds: float, services: tuple[str, ...], links: int = 1) -> list[Step]:
    """The faults of a run in the order of their beginning. The last one has ended at `seconds`."""
    return list(_steps(random.Random(f"chaos {seed}"), nodes, seconds, kinds(services, links)))


def _steps(randomness: random.Random, nodes: int, seconds: float, all_kinds: tuple[Kind, ...]) -> Iterator[Step]:
    at_s = randomness.uniform(*PAUSE_S)
    ends: list[float] = []
    busy: dict[int, float] = {}
    while True:
        deck = list(all_kinds)
        randomness.shuffle(deck)
        for kind in deck:
            lasts_s = randomness.uniform(*kind.lasts_s)
            if len(running := sorted(end for end in ends if end > at_s)) >= 2:
                at_s = running[-2]
            node = randomness.randint(1, nodes)
            # One node is not hit twice at once: a crash undone by the end of a freeze would be neither.
            at_s = max(at_s, busy.get(node, 0.0))
            until_s = at_s + lasts_s
            if until_s > seconds:
                return
            ends.append(until_s)
            busy[node] = until_s
            yield Step(at_s, until_s, kind.name, kind.argument, node, randomness.getrandbits(30))
            at_s += randomness.uniform(*PAUSE_S)
