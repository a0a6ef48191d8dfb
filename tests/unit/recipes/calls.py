"""Commands and reads of the processes of a world, and whether what their callers saw agrees with what the state says.

The state is a log of all commands. So its last version *is* the order in which things took effect, and whether what the
callers saw agrees with it is easy to decide: a read is a beginning of it, with everything that was done before the read
began, and nothing that was asked for after it was over.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.unit.recipes.world import Process, World


@dataclass
class Call:
    """Somebody's command or read, and when it began and was over, by a count of turns."""

    process: Process
    number: int
    text: str
    began: int
    ended: int | None = None
    seen: tuple[str, ...] = ()


class Calls:
    """All calls of one run. Their time is a count of turns."""

    def __init__(self, world: World, draw: random.Random) -> None:
        self._world = world
        self._draw = draw
        self.made: list[Call] = []
        self.turns = 0

    def one(self) -> None:
        """One of the processes reads, or does something."""
        process = self._draw.choice(self._world.processes)
        text = f"{process.name}:{len(self.made)}"
        if self._draw.random() < 0.3:
            self.made.append(Call(process, process.read(), "", self.turns))
        else:
            self.made.append(Call(process, process.do(text), text, self.turns))

    def note(self) -> None:
        """Note which calls are over."""
        for call in self.made:
            if call.ended is None and call.number in call.process.outcomes:
                call.ended = self.turns
                call.seen = tuple(call.process.reads.get(call.number, ()))


def check(world: World, calls: Calls) -> None:
    """Check everything that a run must satisfy."""
    processes = world.processes
    assert all(process.replica.is_ready for process in processes), [p.replica.phase for p in processes]
    final = processes[0].log.entries
    assert all(process.log.entries == final for process in processes), "all states are equal"
    commands = [entry for entry in final if not entry.startswith("gone ")]
    assert len(commands) == len(set(commands)), "no command twice"
    at = {entry: index for index, entry in enumerate(final)}
    alive = set(map(id, processes))
    for call in calls.made:
        if call.ended is None:
            assert id(call.process) not in alive, f"{call.text or 'a read'} of a living process has no end"
        elif call.text:
            assert call.text in at, f"{call.text} was acknowledged and is lost"
        else:
            assert list(call.seen) == final[: len(call.seen)], "a read is a beginning of the history"
    done = [call for call in calls.made if call.text and call.ended is not None]
    for read in [call for call in calls.made if not call.text and call.ended is not None]:
        for call in done:
            assert call.ended is not None
            assert read.ended is not None
            if call.ended < read.began:
                assert at[call.text] < len(read.seen), "a read sees what was done before it began"
            if call.began > read.ended:
                assert at[call.text] >= len(read.seen), "a read sees nothing of later"
    for call in done:
        for other in done:
            assert call.ended is not None
            if call.ended < other.began:
                assert at[call.text] < at[other.text], "what was done before comes before"
