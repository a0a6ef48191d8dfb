"""Mutants of cpg and of the ordered log between it and totem."""

from __future__ import annotations

from functools import partial

from tests.mutants.mutant import Area, Mutant

_C = "services/cpg/"
_L = "services/totem/ordered_log.py"
_cpg = partial(Mutant, Area.GROUPS)
_log = partial(Mutant, Area.LOG)

MUTANTS = (
    _cpg(
        _C + "core.py",
        "        # What the ring that ends here held back is due before this ring's joinlists are made.\n"
        "        self._release(n)\n",
        "",
        "what a sync that never completed held back is evaluated at the next ring",
        ("tests/unit/cpg/test_core.py",),
    ),
    _cpg(
        _C + "core.py",
        "            messages.extend(wire.encode_parts_again(name, node, pid, total, data))\n",
        "            pass\n",
        "a newcomer is given the parts of a long message that it missed",
        ("tests/unit/cpg/test_core.py",),
    ),
    _cpg(
        _C + "core.py",
        "if self.syncing and (self.ring is None or self._staying is None or entry[1] not in self._staying):",
        "if self.syncing:",
        "parts that are said again are ignored by those who have them",
    ),
    _cpg(
        _C + "core.py",
        "        self._joinlists.clear()\n        if self._staying is not None:\n",
        "        if self._staying is not None:\n",
        "joinlists of a sync that was aborted do not count",
        ("tests/unit/cpg/test_core.py",),
    ),
    _cpg(
        _C + "core.py",
        "members if self._staying is None else self._staying & members\n",
        "members\n",
        "a node that left in between has not stayed",
    ),
    _cpg(
        _C + "core.py",
        "        elif self.syncing:\n            self._held.append((at, entry))\n",
        "",
        "nothing of a new ring is delivered before its sync is complete",
        ("tests/unit/cpg/test_core.py",),
    ),
    _cpg(
        _C + "core.py",
        "            if group is not None and sender in group.nodes:\n",
        "            if group is not None:\n",
        "a message of a node without a member in the group is not delivered",
        ("tests/unit/cpg/test_core.py",),
    ),
    _cpg(
        _C + "core.py",
        "        if group is not None and sender in group.nodes:\n            event = [n,",
        "        if group is not None:\n            event = [n,",
        "a message of this node is not delivered if it has no member in the group",
        harmless="a session is in `local` only as long as its process is a member, so nobody is there to be given it",
    ),
    _cpg(
        _C + "core.py",
        "            self.assembly.drop_nodes(n, self._staying)\n",
        "            pass\n",
        "half a message of a node that is gone is dropped",
        ("tests/unit/cpg/test_core.py",),
    ),
    _cpg(
        _C + "sessions.py",
        "            while blobs and blobs[0].last <= n:\n",
        "            while blobs and blobs[0].first <= n:\n",
        "a blob is kept until all of it is handled",
        ("tests/unit/cpg/test_sessions.py",),
    ),
    _cpg(
        _C + "sessions.py",
        "        self._sent_bytes = sum(len(blob.data) for blob in self._sent)\n",
        "",
        "a session that resumes has the whole window again",
        ("tests/unit/cpg/test_sessions.py",),
    ),
    _cpg(
        _C + "sessions.py",
        " or (self._sent and self._sent_bytes >= SEND_WINDOW_BYTES):",
        ":",
        "what is on its way to a session is bounded",
        ("tests/unit/cpg/test_sessions.py",),
    ),
    _cpg(
        _C + "sessions.py",
        "        return head if first is None else max(self.acked, first.first - 1)\n",
        "        return head\n",
        "totem keeps what a session has not handled",
        ("tests/unit/cpg/test_sessions.py",),
    ),
    _cpg(
        _C + "assembly.py",
        "            if ended.end > n:\n",
        "            if ended.end >= n:\n",
        "the parts of a message that is complete are needed no more",
        ("tests/unit/cpg/test_assembly.py",),
    ),
    _cpg(
        _C + "assembly.py",
        "            if ended.end > n:\n                needed.extend(at for at in ended.positions if at <= n)\n",
        "            pass\n",
        "the parts of a message that was unfinished at a position are needed there, though it has ended since",
        ("tests/unit/cpg/test_assembly.py",),
    ),
    _cpg(
        _C + "assembly.py",
        "        while self._ended and self._ended[0].end <= n:\n",
        "        while False:\n",
        "what nobody will ask for any more is forgotten",
        ("tests/unit/cpg/test_assembly.py",),
    ),
    _cpg(
        _C + "checkpoints.py",
        "            self.snapshots[-1].until = n - 1\n",
        "            self.snapshots[-1].until = n\n",
        "a snapshot is good until the state changes, and no longer",
    ),
    _cpg(
        _C + "clients.py",
        "            if number > known or request[1] not in _ORDERED:\n",
        "            if True:\n",
        "a request that comes twice is ordered once",
    ),
    _cpg(
        _C + "machine.py",
        "        if log.first < first:\n            entries = entries[first - log.first :]\n",
        "",
        "an entry that comes twice is evaluated once",
    ),
    _log(
        _L,
        "            if request > taken.get(session, 0):\n",
        "            if True:\n",
        "a request is taken once",
        ("tests/unit/totem/test_ordered_log.py",),
    ),
    _log(
        _L,
        "        if not self._acked <= ack.n <= self._sent:\n",
        "        if not self._acked <= ack.n <= self.head:\n",
        "what was not sent cannot be acknowledged",
        ("tests/unit/totem/test_ordered_log.py",),
    ),
    _log(
        _L,
        "        if self.pressure <= 0.5:\n",
        "        if self.pressure <= 1.0:\n",
        "above half of the log no new requests are taken",
        ("tests/unit/totem/test_ordered_log.py",),
    ),
    _log(
        _L,
        "        self._sent = self._acked\n        self._due = self.head\n",
        "        self._due = self.head\n",
        "a restarted cpg is sent again all that is not acknowledged",
        ("tests/unit/totem/test_ordered_log.py",),
    ),
    _log(
        _L,
        "            if self._submitted >= self._credit:\n",
        "            if False:\n",
        "requests beyond the credit are refused",
        ("tests/unit/totem/test_ordered_log.py",),
    ),
    _log(
        _L,
        "            self.reform_wanted = self._ring_seen\n",
        "            pass\n",
        "a cpg that attaches late has a new ring formed",
        ("tests/unit/totem/test_ordered_log.py",),
    ),
)
