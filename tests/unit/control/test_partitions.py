"""Votequorum under random splits, merges, kills and starts: no two sides of a cluster are quorate at once.

A seed makes a cluster with a configuration and lets things happen to it; rings may be cut off in the middle of their
sync. After each event the rings that stand are looked at. A node that has not noticed yet that its ring is gone is left
out: what it believes until its token is lost is the ring's matter.

Some configurations buy availability with exactly this safety. What they allow is written down here, rule by rule, and
only what has happened in the run excuses:

    two_node            both nodes go on alone (without fencing); a node that has met nobody since its start and waits
                        for all does not
    last_man_standing   once a window has lowered the expected votes somewhere, nodes that it left out may come back to
                        a node of that side
    auto_tie_breaker    once a half has gone on by the tie breaker, and until all nodes have met again, but for the
                        first split of the whole: who was the lowest is remembered by each node for itself, and a list
                        looks only one ring back
    allow_downscale     once a node has left: its votes are not expected any more, and it may start elsewhere
    set by hand         once votes or expected votes were set

For configurations without any of these there is a second, independent rule: quorate is who has more than half.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from services.control.quorum.events import Ring
from services.control.quorum.nodes import Node, Nodes, Tally
from services.control.quorum.settings import Options, Settings
from services.control.quorum.votequorum import Votequorum
from services.control.quorum.wire import Flag, NodeInfo
from tests.unit.control.ring import Cluster, options

SEEDS = 400
STEPS = 40


def _configuration(rng: random.Random, nodes: int) -> Options:
    kind = rng.choice(["plain", "plain", "wait", "two", "standing", "tie", "tie list", "downscale", "tracking"])
    written: dict[str, object] = {}
    if kind == "two" and nodes == 2:
        written["two_node"] = True
    elif kind == "wait":
        written["wait_for_all"] = True
    elif kind == "standing":
        written |= {"last_man_standing": True, "last_man_standing_window_ms": 2000}
    elif kind.startswith("tie"):
        written["auto_tie_breaker"] = True
        if kind == "tie list":
            written["auto_tie_breaker_node"] = " ".join(map(str, rng.sample(range(1, nodes + 1), 2)))
        if nodes % 2:
            written["wait_for_all"] = True
    elif kind == "downscale":
        written["allow_downscale"] = True
    elif kind == "tracking":
        written["expected_votes_tracking"] = True
    return options(**written)


@dataclass
class Run:
    """One seed."""

    seed: int
    make: Callable[..., Votequorum] = Votequorum
    excuses: set[str] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)
    excused: set[str] = field(default_factory=set)
    """The rules that excused two quorate sides at once."""

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        count = self.rng.choice([2, 3, 3, 4, 4, 5, 6, 7])
        weighted = self.rng.random() < 0.2
        nodelist = {node: self.rng.choice([0, 1, 1, 2, 3]) if weighted else 1 for node in range(1, count + 1)}
        nodelist[1] = nodelist[1] or 1
        self.cluster = Cluster(nodelist, _configuration(self.rng, count))
        self.cluster.make = self.make
        self.by_hand = self.rng.random() < 0.25
        self.whole_ring: int | None = None
        """Number of the last ring that had all nodes."""
        self.met_all: set[int] = set()
        """Nodes that in this life have been with all that have votes, or with one that had."""

    def run(self) -> Run:
        happenings = [
            self._split,
            self._split,
            self._merge,
            self._merge,
            self._kill,
            self._start,
            self._start,
            self._pass,
        ]
        happenings += [self._leave, self._by_hand] if self.by_hand else [self._leave]
        for node in self.cluster.nodelist:
            if self.rng.random() < 0.9:
                self.cluster.start(node)
                self._form([node])
        for _ in range(STEPS):
            if self.cluster.members:
                self.rng.choice(happenings)()
            else:
                self._start()
            self._look()
            if self.cluster.members:
                # A crash of the process alone does not change what it may do.
                self.cluster.revive(self.rng.choice(sorted(self.cluster.members)))
        return self

    # Events.

    def _form(self, nodes: list[int]) -> None:
        """A ring, after up to two that were cut off."""
        while self.rng.random() < 0.15:
            self.cluster.form(*nodes, stop_after=self.rng.randrange(2 * len(nodes)))
        self.cluster.form(*nodes)
        voters = {node for node, votes in self.cluster.nodelist.items() if votes}
        if set(nodes) == set(self.cluster.nodelist):
            self.whole_ring = self.cluster.rings
            self.excuses.discard("auto_tie_breaker")
        if voters.issubset(nodes) or self.met_all.intersection(nodes):
            self.met_all.update(nodes)

    def _rings(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for node, member in sorted(self.cluster.members.items()):
            found.setdefault(member.ring, []).append(node)
        return found

    def _split(self) -> None:
        """Split a ring into two."""
        group = self.rng.choice(list(self._rings().values()))
        side = [node for node in group if self.rng.random() < 0.5]
        for part in (side, [node for node in group if node not in side]):
            if part:
                self._form(part)

    def _merge(self) -> None:
        """Merge two rings."""
        groups = list(self._rings().values())
        chosen = self.rng.sample(groups, min(2, len(groups)))
        self._form(sorted(node for group in chosen for node in group))

    def _kill(self) -> None:
        node = self.rng.choice(sorted(self.cluster.members))
        ring = self.cluster.members[node].ring
        self.cluster.kill(node)
        self.met_all.discard(node)
        rest = self._rings().get(ring)
        if rest:
            self._form(rest)

    def _start(self) -> None:
        down = [node for node in self.cluster.nodelist if node not in self.cluster.members]
        if down:
            node = self.rng.choice(down)
            groups = list(self._rings().values())
            self.cluster.start(node)
            self._form([node] if not groups or self.rng.random() < 0.5 else sorted([node, *self.rng.choice(groups)]))

    def _leave(self) -> None:
        node = self.rng.choice(sorted(self.cluster.members))
        if self.cluster.written.allow_downscale:
            self.excuses.add("allow_downscale")
        self.cluster.leave(node)
        self.met_all.discard(node)

    def _pass(self) -> None:
        """Let time pass in which windows end."""
        before = {node: member.votes.own.expected_votes for node, member in self.cluster.members.items()}
        self.cluster.advance(3)
        lowered = [node for node, each in self.cluster.members.items() if each.votes.own.expected_votes < before[node]]
        if lowered and self.cluster.written.last_man_standing:
            self.excuses.add("last_man_standing")

    def _by_hand(self) -> None:
        votes = self.cluster.members[self.rng.choice(sorted(self.cluster.members))].votes
        what = self.rng.randrange(3)
        self.excuses.add("set by hand")
        if what == 0:
            votes.set_expected(self.rng.randrange(1, 10))
        elif what == 1:
            votes.set_votes(self.rng.choice([node.node for node in votes.nodes]), self.rng.randrange(4))
        else:
            votes.cancel_wait_for_all()
            self.met_all.update(self.cluster.members)
        self.cluster.deliver()

    # Invariants.

    def _look(self) -> None:
        cluster, written = self.cluster, self.cluster.written
        sides = []
        for group in self._rings().values():
            quorate = [node for node in group if cluster.members[node].votes.quorate]
            if quorate:
                sides.append((group, quorate))
            self._look_at(group, quorate)
        if written.two_node:
            self.excuses.add("two_node")
        if len(sides) > 1:
            self.excused |= self.excuses
            if not self.excuses:
                self.violations.append(f"quorate at once: {sides}")

    def _look_at(self, group: list[int], quorate: list[int]) -> None:
        cluster, written = self.cluster, self.cluster.written
        total = sum(cluster.nodelist[node] for node in group)
        expected = sum(cluster.nodelist.values())
        has_half = 2 * total > expected
        waits = written.wait_for_all or written.two_node
        if waits and quorate and not self.by_hand and not self.met_all.intersection(group):
            self.violations.append(f"{quorate} of {group} did not wait for all")
        is_first_split = self.whole_ring is not None and cluster.rings - self.whole_ring <= 2
        if written.auto_tie_breaker and quorate and not has_half and not is_first_split:
            self.excuses.add("auto_tie_breaker")
        if self.excuses or written.auto_tie_breaker or written.two_node or self.by_hand:
            return
        if quorate and not has_half:
            self.violations.append(f"{quorate} of {group} are quorate with {total} of {expected} votes")
        if not waits and has_half and quorate != group:
            self.violations.append(f"of {group} only {quorate} are quorate with {total} of {expected} votes")


def test_no_two_sides_are_quorate_at_once() -> None:
    excused: set[str] = set()
    for seed in range(SEEDS):
        run = Run(seed).run()
        assert not run.violations, f"seed {seed}: {run.violations[:3]}"
        excused |= run.excused
    assert excused >= {"two_node", "auto_tie_breaker", "set by hand"}, "the runs are too tame to prove anything"


def _quorate(cluster: Cluster) -> set[int]:
    return {node for node, member in cluster.members.items() if member.votes.quorate}


def _all_started(nodes: int, **written: object) -> Cluster:
    nodelist = dict.fromkeys(range(1, nodes + 1), 1)
    cluster = Cluster(nodelist, options(**written))
    cluster.start(*nodelist)
    cluster.form(*nodelist)
    return cluster


def test_a_node_that_was_left_out_joins_one_of_the_last_men_standing() -> None:
    """Three of four lower their expected votes to three; then two of them, and the third with the one that was gone,
    are two of three each."""
    cluster = _all_started(4, last_man_standing=True, last_man_standing_window_ms=2000)
    cluster.split((1, 2, 3), (4,))
    cluster.advance(3)
    cluster.split((1, 2), (3, 4))
    assert _quorate(cluster) == {1, 2, 3, 4}


def test_each_node_remembers_the_lowest_for_itself() -> None:
    """Node 1 was in the half with the tie breaker; while it is alone the others go on, and remember node 2."""
    cluster = _all_started(4, auto_tie_breaker=True)
    cluster.split((1, 2), (3, 4))
    cluster.split((1,), (2, 3, 4))
    cluster.split((1, 4), (2, 3))
    assert _quorate(cluster) == {1, 2, 3}


def test_a_list_of_tie_breakers_looks_one_ring_back() -> None:
    cluster = _all_started(4, auto_tie_breaker=True, auto_tie_breaker_node="3 1")
    cluster.split((1, 2), (3, 4))
    assert _quorate(cluster) == {3, 4}
    cluster.form(1, 2)
    assert _quorate(cluster) == {1, 2, 3, 4}, "node 3 was not in the ring before"


class _TooManyNeeded(Nodes):
    def count(self, quorum_now: int, **how: bool) -> Tally:  # type: ignore[override]
        tally = super().count(quorum_now, **how)
        return Tally(tally.quorum + 1, tally.total_votes)


class _HalfIsEnough(Nodes):
    def count(self, quorum_now: int, **how: bool) -> Tally:  # type: ignore[override]
        tally = super().count(quorum_now, **how)
        return Tally(max(1, tally.quorum - 1), tally.total_votes)


class _DeadNodesVote(Nodes):
    def members(self) -> list[Node]:
        return list(self)


class _WithNodes(Votequorum):
    kind = Nodes

    def __init__(self, node: int, settings: Settings, stored_barrier: int = 0) -> None:
        super().__init__(node, settings, stored_barrier)
        self.nodes = self.kind(self.nodes.own)


def _with(kind: type[Nodes]) -> type[Votequorum]:
    return type("Mutant", (_WithNodes,), {"kind": kind})


class _AlwaysTheTieBreaker(Votequorum):
    def _judge(self, total_votes: int) -> None:
        self.lowest = self.highest = self.own.node
        super()._judge(total_votes)


class _NeverWaits(Votequorum):
    def _judge(self, total_votes: int) -> None:
        self.waiting_for_all = False
        super()._judge(total_votes)


class _ForgetsWhoIsGone(Votequorum):
    def sync_init(self, ring: Ring, members: Sequence[int], now_ns: int) -> None:
        self.members = ()
        super().sync_init(ring, members, now_ns)


class _ExpectsThosePresent(Votequorum):
    def _recalculate(self, *, decrease: bool = False, by_members: bool = False) -> None:
        super()._recalculate(decrease=True, by_members=True)


class _LowersWithoutQuorum(Votequorum):
    def advance(self, now_ns: int) -> None:
        self._recalculate(decrease=True, by_members=True)


class _WindowWithoutLastManStanding(Votequorum):
    def advance(self, now_ns: int) -> None:
        if self.quorate:
            self._recalculate(decrease=True, by_members=True)


class _BelievesWhoWaits(Votequorum):
    def _node_info(self, info: NodeInfo) -> None:
        super()._node_info(info._replace(flags=info.flags & ~Flag.WAITING_FOR_ALL | Flag.QUORATE))


class _TellsNobody(Votequorum):
    def sync_step(self) -> list[bytes]:
        return []


MUTANTS = {
    "one vote too many is asked for": _with(_TooManyNeeded),
    "half is enough": _with(_HalfIsEnough),
    "dead nodes vote": _with(_DeadNodesVote),
    "each half has the tie breaker": _AlwaysTheTieBreaker,
    "nobody waits for all": _NeverWaits,
    "who is gone stays a member": _ForgetsWhoIsGone,
    "as many votes are expected as are there": _ExpectsThosePresent,
    "the window lowers expected votes without quorum": _LowersWithoutQuorum,
    "expected votes sink without last_man_standing": _WindowWithoutLastManStanding,
    "who waits is believed to be quorate": _BelievesWhoWaits,
    "votes are not told": _TellsNobody,
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_rule_is_noticed(name: str) -> None:
    assert any(Run(seed, MUTANTS[name]).run().violations for seed in range(SEEDS)), name
