"""How rings form in the ideal world: gather, commit, recovery, and what is delivered around a change."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING

from tests.checker.model import REASON_TOKEN_LOST, Node, Packet, Token, World

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.checker.base import Limits, Ring

REASON_JOIN = 12


class Cluster(World):
    """A world whose nodes form rings."""

    def __init__(self, limits: Limits, nodes: Collection[int] = ()) -> None:
        super().__init__(limits)
        for node in nodes:
            self.start(node)
            self.form([node])

    def form(self, members: Collection[int], installs: Collection[int] | None = None) -> Ring:
        """These nodes form a ring; only `installs` of them come to install it (default: all)."""
        states = [self.nodes[node] for node in sorted(members)]
        self._gather(states)
        sequence = max(state.highest for state in states) + 4
        token = Token((states[0].node, sequence), tuple(state.node for state in states))
        token.seq = token.aru = self.limits.initial_sequence
        self._commit(states, token)
        groups: defaultdict[Ring, list[Node]] = defaultdict(list)
        for state in states:
            groups[state.ring].append(state)
        old = {state.node: dict(state.have) for state in states}
        kept = {state.node: (state.aru, state.delivered, state.discarded, state.stable) for state in states}
        self._recover(states, token, groups)
        self.tokens[token.ring] = token
        recovered = {state.node: (state.have, state.aru, state.last_aru, state.last_packets) for state in states}
        for state in states:
            state.have = old[state.node]
            state.aru, state.delivered, state.discarded, state.stable = kept[state.node]
        for group in groups.values():
            # The commit token has told how far each of them has delivered.
            delivered = max(state.delivered for state in group)
            for state in group:
                state.stable = delivered
        unions = {ring: _union(group) for ring, group in groups.items()}
        for state in states:
            if installs is None or state.node in installs:
                moved = sorted(other.node for other in groups[state.ring])
                state.have = dict(unions[state.ring])
                self._install(state, token, moved)
                state.have, state.aru, state.last_aru, state.last_packets = recovered[state.node]
                state.delivered = state.aru
        return token.ring

    def _gather(self, states: list[Node]) -> None:
        everybody = {state.node for state in states}
        for state in states:
            gone = set(state.members) - everybody
            state.proc |= set(state.members) | {state.node}
            self.state(state, "gather", state.ring, REASON_TOKEN_LOST)
            for other in states:
                if other is not state:
                    self.emit(state.node, "join_seen", ring_seq=other.highest)
            state.proc |= everybody
            state.failed |= gone | (state.proc - everybody)
            self.state(state, "gather", state.ring, REASON_JOIN)

    def _commit(self, states: list[Node], token: Token) -> None:
        """The commit token goes round twice."""
        ring = list(token.ring)
        size = len(states)
        for step in range(2 * size):
            state = states[step % size]
            if step > 0:
                self.emit(state.node, "commit_in", ring=ring, token_seq=step, index=min(step, size))
            if step < size:
                state.highest = self.disks[state.node] = token.ring[1]
            self.state(state, "commit" if step < size else "recovery", token.ring)
            following = states[(step + 1) % size].node
            index = min(step + 1, size)
            self.emit(state.node, "commit_out", ring=ring, token_seq=step + 1, index=index, to=following)
        self.emit(states[0].node, "commit_in", ring=ring, token_seq=2 * size, index=size)

    def _recover(self, states: list[Node], token: Token, groups: dict[Ring, list[Node]]) -> None:
        """Send what somebody of an old ring lacks and another has, in packets of the new ring."""
        queues: dict[int, deque[Packet]] = {state.node: deque() for state in states}
        for ring, group in groups.items():
            low = min(state.aru for state in group)
            for seq in sorted(_union(group)):
                if seq > low:
                    holder = next(state for state in group if seq in state.have).node
                    queues[holder].append(Packet(holder, f"{ring}-{seq} again", encapsulated=True))
        for state in states:
            state.enter_ring()
        quiet = 0
        while quiet < 3:
            quiet = 0 if any(queues.values()) else quiet + 1
            for state in states:
                self.visit(state.node, token, recovery=queues[state.node])

    def _install(self, state: Node, token: Token, moved: list[int]) -> None:
        """Operational: the end of the old ring, and the new one."""
        old, new = state.ring, token.ring
        state.proc, state.failed = set(token.members), set()
        self.state(state, "operational", new)
        trans, regular = f"t:{old[0]}:{old[1]}:{new[0]}:{new[1]}", f"r:{new[0]}:{new[1]}"
        left = sorted(set(state.members) - set(moved))
        self.deliver_rest(state, True, "", moved)
        rings = {"ring": list(old), "old": list(old), "new": list(new)}
        self.emit(state.node, "conf", cfg=trans, kind="trans", members=moved, left=left, **rings)
        self.deliver_rest(state, False, trans, moved)
        joined = sorted(set(token.members) - set(moved))
        members = list(token.members)
        self.emit(
            state.node, "conf", cfg=regular, kind="reg", ring=list(new), members=members, joined=joined, left=left
        )
        self.emit(state.node, "sync", phase="complete", ring=list(new))
        state.ring, state.members = new, token.members
        state.enter_ring()

    def finish(self, component: Collection[int], rotations: int = 6) -> list[dict[str, object]]:
        """No more faults: one ring of the component, all queues emptied, and the end of the run."""
        self.t += 1.0
        self.lives[0] = 0
        self.emit(0, "stable", component=sorted(component), at=self.t)
        ring = self.form(component)
        self.rotate(ring, rotations)
        while any(self.nodes[node].queue for node in component):
            self.rotate(ring)
        self.rotate(ring, 4)
        self.t += 3 * self.limits.convergence_s
        self.emit(0, "end")
        return self.events


def _union(group: list[Node]) -> dict[int, Packet]:
    """What anybody in the group has of their ring."""
    union: dict[int, Packet] = {}
    for state in group:
        union.update(state.have)
    return union
