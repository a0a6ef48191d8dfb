"""Mutants of votequorum, and of how nodes are killed, shut down and reloaded."""

from __future__ import annotations

from functools import partial

from tests.mutants.mutant import Area, Mutant

_V = "services/control/quorum/votequorum.py"
_N = "services/control/quorum/nodes.py"
_R = "services/control/cfg/reload.py"
_S = "services/control/cfg/shutdown.py"
_C = "services/control/core.py"
_control = partial(Mutant, Area.CONTROL)
_VOTING = ("tests/simulation/test_voting.py", "tests/unit/control/test_partitions.py")
_RELOAD = ("tests/unit/control/test_reload.py",)
_CFG = ("tests/unit/control/test_cfg.py",)

MUTANTS = (
    _control(
        _N,
        "quorum = max((highest + 2) // 2, (total + 2) // 2)",
        "quorum = max((highest + 1) // 2, (total + 1) // 2)",
        "more than half of the votes is needed",
        _VOTING,
    ),
    _control(_N, " if node.state == NodeState.MEMBER]", "]", "nodes that are gone have no vote", _VOTING),
    _control(
        _N,
        "        if not decrease:\n            quorum = max(quorum, quorum_now)\n",
        "",
        "quorum does not sink by itself",
        ("tests/unit/control/test_scenarios.py",),
    ),
    _control(
        _N,
        "if two_node and voters <= 2:",
        "if two_node:",
        "one vote is enough for two nodes only",
        ("tests/unit/control/test_scenarios.py",),
    ),
    _control(
        _V,
        "            if node.node in lost:\n                node.state = NodeState.DEAD\n",
        "            pass\n",
        "who is not in the ring is dead",
        _VOTING,
    ),
    _control(
        _V,
        "            if total_votes != own.expected_votes:\n",
        "            if False:\n",
        "who waits for all waits",
        _VOTING,
    ),
    _control(
        _V,
        "        if self.quorate and self.last_man_standing:\n",
        "        if self.last_man_standing:\n",
        "the window lowers expected votes where there is quorum only",
        ("tests/unit/control/test_scenarios.py",),
    ),
    _control(
        _V,
        "            and total_votes == own.expected_votes // 2\n",
        "",
        "a tie breaker decides between halves",
        ("tests/unit/control",),
    ),
    _control(
        _V,
        "        if not self.quorate and is_quorate:\n            decrease = True\n",
        "        if is_quorate:\n            decrease = True\n",
        "expected votes are taken over by who is not quorate",
        ("tests/unit/control",),
    ),
    _control(
        _V,
        "            self._assign_votes(known, before)\n            return False\n",
        "            return False\n",
        "votes that were refused are put back",
        ("tests/unit/control",),
    ),
    _control(_C, "        self.reload.ring_changed()\n", "", "a ring change ends a reload", _RELOAD),
    _control(
        _C,
        "                self.setup = setup_of(NodeConfig.from_msgpack(self.adopted))\n",
        "                pass\n",
        "a new control works with what the nodes have agreed on",
        _RELOAD,
    ),
    _control(
        _R,
        "pending.ident != (source, number) or not pending.is_agreed:",
        "pending.ident != (source, number):",
        "nobody changes before all have agreed",
        _RELOAD,
        harmless="a Rondo node that proposed sends it once all have voted only; for a faulty one alone",
    ),
    _control(
        _R,
        "        if len(pending.votes) < len(pending.voters):\n            return\n",
        "",
        "all have a vote in a reload",
        _RELOAD,
    ),
    _control(
        _R, "faults := faults or _differences(pending.votes)", "faults := faults", "all files say the same", _RELOAD
    ),
    _control(_R, " or sender in pending.votes:", ":", "nobody votes twice", _RELOAD),
    _control(
        "rondo/protocol/totem_control.py",
        "return message.startswith(_RELOAD)",
        "return False",
        "the message at which all change is SAFE",
        _RELOAD,
    ),
    _control(
        _S,
        "pending.refused = pending.refused or not agrees",
        "pending.refused = not agrees",
        "one objection is enough",
        _CFG,
    ),
    _control(
        _S,
        "elif self._complete_ns is None or now_ns < self._complete_ns:",
        "elif self._complete_ns is None:",
        "a new control waits for those who have a say",
        _CFG,
    ),
    _control(
        _S,
        "asked := self._trackers.keys() - {own_name}",
        "asked := self._trackers.keys()",
        "who wants to shut down is not asked",
        _CFG,
    ),
    _control(
        _C,
        "            if message.node == self.setup.node:\n",
        "            if True:\n",
        "only the node that is named is killed",
        _CFG,
    ),
)
