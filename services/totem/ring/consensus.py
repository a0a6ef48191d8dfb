"""The lists that nodes agree on in Gather, and how a join changes them.

A node has a list of known processors (proc), and a list of those that it counts as failed (failed). A node whose join
has exactly our two lists has agreed. Lists only grow until a ring is installed. This module also finds the nodes that
cannot agree: those that keep announcing other lists, and those that are silent. gather.py decides what to do then.

Source: Amir et al., section 6; Corosync's memb_join_process.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from typing import Final

from services.totem.ring.estrangement import Estrangement
from services.totem.ring.join_failure_detector import JoinFailureDetector
from services.totem.ring.options import RingOptions
from services.totem.ring.timers import MS
from services.totem.wire.frames import Join

DISSENT_JOINS: Final = 8
"""A node that repeats the same lists, other than ours, for so many join intervals will not agree."""

RESTART_JOINS: Final = 3
"""The same for this node while it counts nodes as failed whose joins it still hears: they cannot agree with it."""


class Verdict(Enum):
    """What a join means for this node."""

    AGREED = auto()
    """Its lists are ours, all nodes have agreed, and this node is to form the ring."""
    NOTHING_NEW = auto()
    CHANGED = auto()
    """Our lists have grown."""


class Consensus:
    """One node's lists, and who has agreed to them."""

    __slots__ = (
        "_node_id", "_options", "_since_ns", "agreed", "detector", "dissenting", "estrangement", "failed",
        "failed_to_receive", "leaving", "proc",
    )  # fmt: skip

    def __init__(self, node_id: int, options: RingOptions, now_ns: int) -> None:
        self._node_id = node_id
        self._options = options
        self._since_ns = now_ns
        """When Gather was entered last, ns. Each change of the lists enters it again."""
        self.proc: set[int] = {node_id}
        """Processors that are known."""
        self.failed: set[int] = set()
        """Those of them that are counted as failed."""
        self.agreed: set[int] = set()
        """Those whose lists are the same as ours."""
        self.dissenting: dict[int, tuple[Join, int]] = {}
        """For each node whose joins have other lists than ours and change nothing here: (its join, since when, ns)."""
        self.detector = JoinFailureDetector()
        """Members that owe an answer while a ring is formed."""
        self.estrangement = Estrangement()
        """Nodes of other rings with which attempts to form a ring keep failing."""
        self.leaving: set[int] = set()
        """Nodes that said goodbye since the last ring was installed."""
        self.failed_to_receive = False
        """This node counts itself as failed: it forms a ring of its own."""

    def change_options(self, options: RingOptions) -> None:
        """Use other time-outs from now on."""
        self._options = options

    def restart(self, now_ns: int, *, resumes: bool) -> None:
        """Gather is entered: only this node has agreed. `resumes`: it is entered from another state."""
        self.proc.add(self._node_id)
        self.agreed = {self._node_id}
        self._since_ns = now_ns
        if resumes:
            self.detector.resume(now_ns)
        self.dissenting.clear()

    def await_anew(self) -> None:
        """All agreed, but no ring came of it: all have to agree again."""
        self.agreed = {self._node_id}

    def discover(self, node: int) -> None:
        """A new node was noticed."""
        self.proc.add(node)

    def fail(self, nodes: Iterable[int]) -> None:
        """Count these nodes as failed."""
        self.failed.update(nodes)

    def fail_self(self) -> None:
        """This node receives too little to be a member."""
        self.failed.add(self._node_id)
        self.failed_to_receive = True

    def missing(self) -> set[int]:
        """The nodes that have not agreed."""
        return self.proc - self.failed - self.agreed

    def is_same(self, join: Join) -> bool:
        """Whether a join has exactly our lists."""
        return self.proc == set(join.proc) and self.failed == set(join.failed)

    def hopeless(self, now_ns: int) -> set[int]:
        """Nodes that will not agree; empty while one of the missing nodes still may."""
        missing = self.missing()
        if self._must_restart(now_ns):
            return missing or self.proc - self.failed - {self._node_id}
        return missing if all(self._is_hopeless(node, now_ns) for node in missing) else set()

    def _must_restart(self, now_ns: int) -> bool:
        """Whether this node counts nodes as failed whose joins it hears. They, and others that hear them, will not
        agree with us. After a ring is formed, perhaps of this node alone, our lists are empty again, and the ring
        merges with theirs."""
        interval_ms = self._options.join_timeout_ms
        waited_ms = (now_ns - self._since_ns) // MS
        return waited_ms >= RESTART_JOINS * interval_ms + self._options.send_join_ms and any(
            self.detector.is_audible(node, now_ns, interval_ms) for node in self.failed
        )

    def _is_hopeless(self, node: int, now_ns: int) -> bool:
        options = self._options
        if node in self.dissenting:
            patience_ms = DISSENT_JOINS * options.join_timeout_ms + options.send_join_ms
            return now_ns - self.dissenting[node][1] >= patience_ms * MS
        early_ms = options.consensus_early_ms
        return early_ms > 0 and self.detector.is_overdue(node, now_ns, early_ms, options.consensus_timeout_ms)

    def forget_answers(self) -> None:
        """This node was paused and did not listen: nobody owes it an answer any more."""
        self.detector.clear()

    def hear(self, join: Join, now_ns: int) -> None:
        """A join or leave has come."""
        self.detector.heard(join.sender, now_ns)
        if join.is_leave:
            self.leaving.add(join.sender)

    def agree(self, join: Join) -> None:
        """Count the sender of a join as agreeing if its lists are ours."""
        if not join.is_leave and self.is_same(join):
            self.agreed.add(join.sender)

    def note_dissent(self, join: Join, now_ns: int) -> None:
        """A join has changed nothing here. If its lists differ from ours although its sender knows this node, the
        sender's next join will differ too, unless its lists change."""
        agrees = self.is_same(join)
        if not agrees and join.sender != self._node_id:
            self.agreed.discard(join.sender)
        if join.is_leave or agrees or self._node_id not in join.proc:
            self.dissenting.pop(join.sender, None)
        elif join.sender not in self.dissenting or self.dissenting[join.sender][0] != join:
            self.dissenting[join.sender] = join, now_ns

    def absorb(self, join: Join, members: tuple[int, ...], now_ns: int) -> Verdict:
        """Merge the lists of a join into ours (Corosync's memb_join_process, cases 1 to 4). `members`: of the installed
        ring."""
        procs, fails = set(join.proc), set(join.failed)
        if procs == self.proc and fails == self.failed:
            return self._count(join, now_ns)
        if (procs <= self.proc and fails <= self.failed) or join.sender in self.failed:
            return Verdict.NOTHING_NEW
        size_before = len(self.proc) + len(self.failed)
        self.proc |= procs
        if self._node_id in fails:
            # A stranger may have failed us before it formed a ring, and forgotten it since. If not, it counts as
            # dissenting.
            if join.sender in members:
                self.failed.add(join.sender)
        elif join.sender in members:
            self.failed |= fails - set(members) if join.sender in self.failed else fails
        else:
            # Corosync merges no failed list of a stranger. But about a silent node that is a stranger here too, the
            # sender knows as much as we do. To wait longer for that node than others do would only split us from them.
            self.failed |= {node for node in fails.difference(members) if self.detector.is_silent(node)}
        # A node of another ring may count other nodes as failed than we do. If we began anew on each of its joins, two
        # such nodes would answer each other without end.
        return Verdict.CHANGED if len(self.proc) + len(self.failed) > size_before else Verdict.NOTHING_NEW

    def _count(self, join: Join, now_ns: int) -> Verdict:
        """A join has exactly our lists: AGREED if all nodes have agreed now and this node is to form the ring."""
        if not join.is_leave:
            self.agreed.add(join.sender)
        agreeing = self.proc - self.failed
        if agreeing - self.agreed:
            return Verdict.NOTHING_NEW
        # A node that has agreed repeats its join. If its joins stop, it is gone.
        window_ms = self._options.join_timeout_ms + self._options.send_join_ms
        gone = {n for n in agreeing if n != self._node_id and not self.detector.is_audible(n, now_ns, window_ms)}
        if gone:
            self.agreed -= gone
            return Verdict.NOTHING_NEW
        if self.failed_to_receive or (agreeing and self._node_id == min(agreeing)):
            return Verdict.AGREED
        return Verdict.NOTHING_NEW

    def begin_from(self, members: tuple[int, ...]) -> None:
        """Others have installed the ring that is being formed: start from its lists."""
        self.proc = set(members)
        self.failed = set()

    def form(self) -> tuple[int, ...]:
        """The members of the ring that this node forms, ascending."""
        if self.failed_to_receive:
            self.failed_to_receive = False
            self.proc = {self._node_id}
            self.failed = set()
        return tuple(sorted(self.proc - self.failed))

    def install(self, members: tuple[int, ...], left: tuple[int, ...], silent: tuple[int, ...], now_ns: int) -> None:
        """A ring is installed. `left`: members of the previous ring that are not in it; `silent`: those of them that
        sent no leave."""
        strangers = self.failed.difference(members, left)
        self.estrangement.note(filter(self.detector.was_heard, strangers), now_ns)
        self.estrangement.meet(members)
        self.begin_from(members)
        self.leaving.clear()
        for node in silent:
            self.detector.note_failed(node, now_ns, self._options.consensus_timeout_ms)
        self.detector.clear()
