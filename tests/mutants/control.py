"""Mutants of votequorum, of how nodes are killed, shut down and reloaded, and of what control tells of itself."""

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
_I = "services/control/introductions.py"
_O = "services/control/config_version.py"
_T = "services/control/statistics.py"
_L = "services/control/log_keys.py"
_P = "services/control/samples.py"
_K = "services/qb_gateway/tracks.py"
_VERSIONS = ("tests/unit/control/test_machine.py", "tests/unit/control/test_config_version.py")
_INTRODUCTIONS = ("tests/unit/control/test_introductions.py",)
_STATISTICS = ("tests/unit/control/test_statistics.py",)
_SAMPLES = ("tests/unit/control/test_samples.py",)
_DEVICES = ("tests/unit/control/test_devices.py",)
_TRACKS = ("tests/unit/qb/test_tracks.py",)
_LOG_KEYS = ("tests/unit/control/test_log_keys.py",)

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
    _control(
        _R,
        "        if self._pending is not None:\n            if ident[0] == self.node:\n",
        "        if False:\n            if ident[0] == self.node:\n",
        "one reload at a time",
        _RELOAD,
    ),
    _control(
        _R,
        "        if number != self.check_number:\n            return\n",
        "",
        "a file that was read for an earlier reload does not count",
        _RELOAD,
    ),
    _control(_R, " or sender not in pending.voters or", " or", "who was not asked has no vote in a reload", _RELOAD),
    _control(
        _R,
        '                self._end([Fault(source, "this C node has reloaded meanwhile; try again")])\n',
        "                pass\n",
        "a C node's reload ends one that is under way",
        _RELOAD,
    ),
    _control(
        _R,
        "                is_agreed,\n            )\n",
        "                False,\n            )\n",
        "a new control knows that all have agreed",
        _RELOAD,
    ),
    _control(
        _S, "self._settle(name, agrees=False)", "self._settle(name, agrees=True)", "silence is an objection", _CFG
    ),
    _control(
        _S,
        "        self._settle(name, agrees=True)\n",
        "        self._settle(name, agrees=False)\n",
        "who goes away objects to nothing",
        _CFG,
    ),
    _control(_S, " and pending.flags != REGARDLESS:", ":", "who objects is not heeded if that was asked for", _CFG),
    _control(
        _S,
        "        elif self._pending is not None:\n            self._answer(place, Code.EXIST,",
        "        elif False:\n            self._answer(place, Code.EXIST,",
        "one shutdown at a time",
        _CFG,
    ),
    _control(
        _S,
        "max(now_ns, self._last_number + 1)",
        "self._last_number + 1",
        "numbers of shutdowns grow over the lives of control",
        _CFG,
    ),
    _control(_O, "own >= newest", "own > newest", "who has the newest configuration stays", _VERSIONS),
    _control(_O, "if not own or own", "if own", "who tells no version of its configuration stays", _VERSIONS),
    _control(_O, " or self._met_others:", ":", "who has met others stays, whatever comes later", _VERSIONS),
    _control(_O, " or sender not in members:", ":", "versions are told by members", _VERSIONS),
    _control(
        _I, "own.keys() | said.keys()", "own.keys()", "a digest that one of both does not know differs", _INTRODUCTIONS
    ),
    _control(
        _I, "        self._said.clear()\n", "", "who is not in the ring any more differs from nobody", _INTRODUCTIONS
    ),
    _control(
        "services/control/digests.py",
        "[getattr(config, name) for name in TIMERS]",
        "[]",
        "other timers are another configuration",
        _INTRODUCTIONS,
    ),
    _control(
        _T,
        " and found[key][1] >= before:",
        ":",
        "a counter that began anew since it was cleared is not below zero",
        _STATISTICS,
    ),
    _control(_T, " if each[0] > before_ms]", "]", "late schedules from before stats.clear are gone", _STATISTICS),
    _control(_T, "if kind == _U64 and key", "if key", "stats.clear is about what is counted", _STATISTICS),
    _control(
        _T,
        '_LATENCIES if link.get("latency_samples") else ()',
        "_LATENCIES",
        "a link without a ping has no latency",
        _STATISTICS,
    ),
    _control(
        "services/control/message_counts.py",
        "count[0] += is_own",
        "count[0] += 1",
        "sent is what this node has sent",
        _STATISTICS,
    ),
    _control(
        _P,
        "self._next_ns = now_ns + int(SAMPLE_S * 1e9)",
        "self._next_ns = now_ns",
        "statistics are sampled seldom enough",
        _SAMPLES,
    ),
    _control(
        "services/control/machine.py",
        "        if not self._being_answered:  #",
        "        if True:  #",
        "while services are asked nothing is due",
        _SAMPLES,
    ),
    _control(
        "services/control/requests.py", ' or {"totem"}\n', "\n", "who asks for no sample waits for one too", _SAMPLES
    ),
    _control(
        _K,
        "if not tracker.connection.is_blocked:",
        "if True:",
        "who does not read its events is told no more",
        _TRACKS,
    ),
    _control(
        _K,
        "now = {key: value for key, value in known.items() if not key.startswith(prefix)}",
        "now: Keys = {}",
        "what was not asked for is not gone",
        _TRACKS,
    ),
    _control(_K, "known.setdefault(key, value)", "known.update({key: value})", "no change is passed over", _TRACKS),
    _control(
        _L,
        "settings if name in settings.own else",
        "settings if False else",
        "what a subsystem has of its own stays",
        _LOG_KEYS,
    ),
    _control(
        _L,
        "        if each.to_logfile and not each.logfile:\n",
        "        if False:\n",
        "nothing logs to a file that is not named",
        _LOG_KEYS,
    ),
    _control(
        _V,
        "self.nodes.device_votes = max(before, info.votes)",
        "self.nodes.device_votes = info.votes",
        "votes of a C node's device do not sink for who is quorate",
        _DEVICES,
    ),
    _control(
        _V,
        "if not any(node.flags & Flag.DEVICE_REGISTERED for node in self.nodes.members())",
        "if True",
        "a device is known as long as a member has it",
        _DEVICES,
    ),
)
