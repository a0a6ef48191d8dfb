"""The story that `make run` tells: a few nodes form a ring, and faults happen to it. It is told in plain English, with
virtual times.

The nodes are real `Ring`s in the simulator. The story is read from the trace, and at the end the checker judges the
trace.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO

from services.totem.wire.base import RingId
from services.totem.wire.frames import Kind
from tests.simulation.cluster import Cluster
from tests.simulation.judge import judge
from tests.simulation.world import MS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.simulation.trace import Event

_COLOURS = {"fault": "31", "ring": "32", "data": "36", "act": "33", "good": "1;32", "bad": "1;31", "title": "1"}


class _Teller:
    """Prints lines with their virtual time; colours only on a terminal that wants them."""

    def __init__(self, out: TextIO, cluster: Cluster) -> None:
        self._out = out
        self._cluster = cluster
        self._colours = out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._read = 0
        self._told: set[RingId] = set()

    def line(self, kind: str, text: str, at_s: float | None = None) -> None:
        """Print one line of the story. Its time is now, or that of an earlier event."""
        seconds = self._cluster.world.now() / 1e9 if at_s is None else at_s
        self._out.write(f"{seconds:9.3f} s  {self.paint(kind, f'{kind:6}')} {text}\n")
        self._out.flush()

    def paint(self, kind: str, text: str) -> str:
        """The text in the colour of its kind."""
        return f"\x1b[{_COLOURS[kind]}m{text}\x1b[0m" if self._colours else text

    def title(self, text: str) -> None:
        """Print a line without a time."""
        self._out.write(self.paint("title", text) + "\n")

    def blank(self) -> None:
        """An empty line between chapters."""
        self._out.write("\n")

    def tell_rings(self, since_ms: float) -> None:
        """Tell of the rings that were formed since the last call. A ring counts as formed when the first member has
        completed its sync. Durations are counted from `since_ms`."""
        events = self._cluster.world.trace.events
        fresh, self._read = events[self._read :], len(events)
        members = {tuple(e["ring"]): e["members"] for e in events if e["ev"] == "conf" and e["kind"] == "reg"}
        for event in fresh:
            ring = RingId(*event["ring"]) if event["ev"] == "sync" else None
            if ring is not None and ring not in self._told:
                self._told.add(ring)
                nodes = members[ring]
                took = f"({event['t'] * 1000 - since_ms:.1f} ms)"
                text = f"node {nodes[0]} is" if len(nodes) == 1 else f"{_names(nodes)} agree: they are"
                self.line("ring", f"{text} ring {ring} {took}", event["t"])


def _names(nodes: Iterable[int]) -> str:
    """ "nodes 1, 2 and 3"."""
    names = [str(node) for node in nodes]
    return f"node {names[0]}" if len(names) == 1 else f"nodes {', '.join(names[:-1])} and {names[-1]}"


class _Story:
    """The chapters of the story. Each changes the cluster, waits for the consequences, and tells both."""

    def __init__(self, out: TextIO) -> None:
        self.cluster = Cluster(5, seed="story")
        self.teller = _Teller(out, self.cluster)

    def _now_ms(self) -> float:
        return self.cluster.world.now() / MS

    def _wait(self, *rings: tuple[int, ...]) -> None:
        began = self._now_ms()
        for ring in rings:
            self.cluster.expect_ring(*ring)
        self.teller.tell_rings(began)

    def _traffic(self, senders: Iterable[int], count: int, size: int) -> None:
        """Let several nodes send messages at once. Tell who has delivered them, and whether in one order."""
        cluster = self.cluster
        before = {node: len(cluster.delivered(node)) for node in cluster.world.alive()}
        senders = list(senders)
        for node in senders:
            cluster.send(node, *[size] * count)
        cluster.settle()
        self.teller.line("data", f"{_names(senders)}: {count} messages of {size} bytes from each, all at the same time")
        orders: dict[tuple[object, ...], list[int]] = {}
        for node in cluster.world.alive():
            orders.setdefault(tuple(cluster.delivered(node)[before[node] :]), []).append(node)
        for order, nodes in orders.items():
            if order:
                same = ", in one order" if len(nodes) > 1 else ""
                self.teller.line("data", f"{_names(nodes)}: delivered {len(order)} messages{same}")

    def birth(self) -> None:
        self.teller.line("act", "five nodes start; none knows which of the others are there")
        self.cluster.start()
        self._wait((1, 2, 3, 4, 5))
        self._traffic((1, 3, 5), 20, 300)

    def loss(self) -> None:
        rule = self.cluster.lose(Kind.TOKEN, count=1)
        self.cluster.world.run_while(lambda: rule.hits == 0, 400, step_ms=1)
        self.teller.line("fault", "the network loses the token")
        self.cluster.run(150)
        again = self.cluster.events("token_resend")[-1]
        self.teller.line("ring", f"node {again['node']} sends it again; the ring stays as it is", again["t"])
        self.cluster.world.network.loss = 0.1
        self.teller.line("fault", "from now on every tenth packet is lost")
        self._traffic((2, 4), 20, 2000)
        self.cluster.world.network.loss = 0.0
        self.teller.line("act", "the network is sound again")
        self.teller.tell_rings(self._now_ms())

    def partition(self) -> None:
        self.teller.line("fault", "a switch fails: nodes 1 and 2 cannot reach nodes 3, 4 and 5 any more")
        self.cluster.partition((1, 2), (3, 4, 5))
        self._wait((1, 2), (3, 4, 5))
        self._traffic((1, 4), 10, 100)
        self.teller.line("act", "the switch is replaced")
        self.cluster.heal()
        self._wait((1, 2, 3, 4, 5))

    def crash(self) -> None:
        before = len(self.cluster.delivered(1, sender=3))
        self.cluster.send(3, *[1200] * 40)
        self.cluster.run(2)
        self.cluster.crash(3)
        self.teller.line("fault", "node 3 loses power when it has sent a part of 40 messages")
        self._wait((1, 2, 4, 5))
        got = {node: len(self.cluster.delivered(node, sender=3)) - before for node in (1, 2, 4, 5)}
        self.teller.line("data", f"delivered of them: {', '.join(f'{n} by node {node}' for node, n in got.items())}")
        self._traffic((5,), 10, 100)
        self.teller.line("act", "node 3 is back, but its disk was replaced: it does not know of any ring")
        self.cluster.start(3, lost_state=True)
        self._wait((1, 2, 3, 4, 5))

    def pause(self) -> None:
        self.teller.line("fault", "the process of node 2 is suspended for two seconds")
        self.cluster.freeze(2)
        self._wait((1, 3, 4, 5))
        self.cluster.run(1500)
        self.teller.line("act", "it continues, and must learn that the others went on without it")
        self.cluster.thaw(2)
        self._wait((1, 2, 3, 4, 5))
        left = [event["left"] for event in self.cluster.events("conf", 2) if event["kind"] == "trans"][-1]
        self.teller.line("data", f"node 2 is told first that {_names(left)} left it, then that they are back")
        self._traffic((1, 2, 3, 4, 5), 10, 1_000)

    def farewell(self) -> None:
        self.teller.line("act", "node 5 is stopped, and says so")
        self.cluster.leave(5)
        self._wait((1, 2, 3, 4))
        self.cluster.world.declare_stable([(1, 2, 3, 4)])
        self._traffic((1,), 5, 1_000_000)
        self.cluster.world.declare_end()


def _verdict(teller: _Teller, events: list[Event], violations: list[str]) -> int:
    teller.blank()
    delivered = sum(event["ev"] == "deliver" for event in events)
    teller.title(f"The checker has read {len(events)} events, {delivered} of them deliveries.")
    for violation in violations:
        teller.line("bad", violation)
    if violations:
        teller.title(teller.paint("bad", "Properties of extended virtual synchrony were violated."))
        return 1
    teller.title(teller.paint("good", "Every property holds: one order, no message lost or doubled, all views agreed."))
    return 0


def narrate(out: TextIO) -> int:
    """Tell the story on `out`. The exit code: 0 if all went as expected and every property holds, 1 if not."""
    story = _Story(out)
    story.teller.title(
        "Five nodes of Rondo in one process, in virtual time. The ring is the real one; the network is not."
    )
    for chapter in (story.birth, story.loss, story.partition, story.crash, story.pause, story.farewell):
        story.teller.blank()
        try:
            chapter()
        except AssertionError as error:
            story.teller.line("bad", f"this did not go as it must: {error}")
            return 1
    world = story.cluster.world
    return _verdict(story.teller, world.trace.events, [str(violation) for violation in judge(world)])
