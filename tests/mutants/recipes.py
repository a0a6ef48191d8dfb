"""Mutants of the replica that the recipes stand on."""

from __future__ import annotations

from functools import partial

from tests.mutants.mutant import Area, Mutant

_C = "rondo/recipes/core/"
_M = "rondo/recipes/machines.py"
_T = "tests/unit/recipes/"
_recipe = partial(Mutant, Area.RECIPES)

MUTANTS = (
    _recipe(
        _C + "state.py",
        "            if number not in session.results:\n",
        "            if True:\n",
        "a command that comes again is not done again",
        (_T + "test_replica.py",),
    ),
    _recipe(
        _C + "state.py",
        "            if is_own and entry.is_certain and number in calls.open:",
        "            if is_own and number in calls.open:",
        "a command that came as transitional is not acknowledged",
        (_T + "test_random_faults.py",),
    ),
    _recipe(
        _C + "replica.py",
        "        if is_certain and self.phase is Phase.FORMED and self.is_holder and not self._awaits_ring:",
        "        if self.phase is not Phase.OUT:",
        "a read is answered only where the group goes on, and where all of the ring have it",
        (_T + "test_linearizable.py",),
    ),
    _recipe(
        _C + "replica.py",
        " or self._ring is None or not self._has_quorum:",
        " or self._ring is None:",
        "nobody goes on without quorum",
        (_T + "test_replica.py",),
    ),
    _recipe(
        _C + "formation.py",
        "            if all(is_majority(present, each, is_direct=is_direct) for each in needed):",
        "            if needed:",
        "an old state does not go on while a later one may exist",
        (_T + "test_replica.py",),
    ),
    _recipe(
        _C + "history.py",
        "(is_direct and there > 0 and 2 * there == len(of))",
        "(there > 0 and 2 * there == len(of))",
        "half of the holders goes on only if it comes directly from where the state went on",
        (_T + "test_replica.py",),
    ),
    _recipe(
        _C + "transfer.py",
        "        self.backlog.append(entry)\n",
        "",
        "commands that come while the state is on its way are kept",
        (_T + "test_replica.py",),
    ),
    _recipe(
        _C + "transfer.py",
        "GIVERS = 2\n",
        "GIVERS = 1\n",
        "a deputy goes on where a giver has died",
        (_T + "test_replica.py",),
    ),
    _recipe(
        _C + "replica.py",
        "        if own in form.holders and self.state.history.fingerprint == form.fingerprint:",
        "        if not self.state.history.is_blank or own in form.holders:",
        "who has another state than that with which the group goes on throws it away",
        (_T + "test_random_faults.py",),
    ),
    _recipe(
        _C + "sessions.py",
        "            if session.is_present and session.member not in there:",
        "            if False:",
        "what a dead process held is given back",
        (_T + "test_recipes.py",),
    ),
    _recipe(
        _C + "calls.py",
        "        self._unsent = deque((n, len(command)) for n, command in self.open.items() if n not in but)\n",
        "",
        "a command whose outcome is unknown is sent again",
        (_T + "test_replica.py",),
    ),
    _recipe(
        _C + "formation.py",
        "        if known == NO_ERA:\n",
        "        if not with_state:\n",
        "who knows that others have a state does not begin with an empty one",
        (_T + "test_random_faults.py",),
    ),
    _recipe(
        _C + "storage.py",
        "        return min(self._common(seats) for seats in (history.seats, *doubts))\n",
        "        return history.index\n",
        "a command is acknowledged when it is on enough disks",
        (_T + "test_whole_stops.py",),
    ),
    _recipe(
        _C + "storage.py",
        "            if all(self._common(seats) >= index for at, seats in history.doubts if at == index):\n",
        "            if True:\n",
        "a change of holders is in doubt until enough of those before have it on disk",
        (_T + "test_whole_stops.py",),
    ),
    _recipe(
        _C + "history.py",
        "        if self.doubts and not self.is_stored:\n",
        "        if self.doubts:\n",
        "on disk it does not end a doubt that all members of the ring have the change",
        (_T + "test_whole_stops.py",),
    ),
    _recipe(
        _C + "formation.py",
        "            may_begin = may_begin and not self.nodes_lacking(members)\n",
        "",
        "a state begins with as many nodes as is asked for",
        (_T + "test_recipes.py",),
    ),
    _recipe(
        "rondo/recipes/frames.py",
        "        if zlib.crc32(payload) != checksum:\n",
        "        if False:\n",
        "bits that have flipped on disk are noticed",
        (_T + "test_store.py",),
    ),
    _recipe(
        _M,
        "        for table in (self.held, self.line):\n",
        "        for table in (self.line,):\n",
        "a permit of a process that is gone is given on",
        (_T + "test_recipes.py",),
    ),
    _recipe(
        _M,
        "len(self.held) < self.permits:",
        "len(self.held) <= self.permits:",
        "no more permits are given than there are",
        (_T + "test_recipes.py",),
    ),
    _recipe(
        _M,
        "[held, line, self.last_fencing,",
        "[held, line, 0,",
        "who gets the state goes on with the fencing tokens",
        (_T + "test_machines.py",),
    ),
    _recipe(
        _C + "state.py",
        "                    self.machine.went_on(letter.ring[1])\n",
        "                    pass\n",
        "fencing tokens grow with the ring, also where the state is a new one",
        (_T + "test_recipes.py",),
    ),
    _recipe(
        _M,
        "(self.ring << RING_SHIFT) + self.clock_ms)",
        "(self.ring << RING_SHIFT))",
        "fencing tokens grow with the clock when all processes have ended in one ring",
        (_T + "test_recipes.py",),
    ),
    _recipe(
        _M,
        "            self.line.appendleft((item, self.taken.pop(item)[1]))\n",
        "            self.line.append((item, self.taken.pop(item)[1]))\n",
        "an item that is given back is the next one",
        (_T + "test_recipes.py",),
    ),
    _recipe(
        _M,
        "        if item not in self.taken or self.taken[item][0][0] != author:\n",
        "        if item not in self.taken:\n",
        "only who has an item can say that it is done",
        (_T + "test_recipes.py",),
    ),
    _recipe(
        _M,
        "        if self.by is None and not self.is_done:\n",
        "        if self.by is None:\n",
        "what is done once is not begun again",
        (_T + "test_recipes.py",),
    ),
    _recipe(
        _M,
        "        if len(self.waiting) >= parties:\n",
        "        if self.waiting:\n",
        "a barrier waits for all",
        (_T + "test_recipes.py",),
    ),
    _recipe(
        "rondo/recipes/steps.py",
        "        yield Do(operation, must=True)\n",
        "",
        "what is given back too late is given back all the same",
        (_T + "test_recipes.py",),
    ),
    _recipe(
        "rondo/recipes/quorum_feed.py",
        "    feed.end()\n",
        "",
        "who asks for quorum ends with the last recipe",
        (_T + "test_quorum_feed.py",),
    ),
)
