"""A cpg that is killed at any position goes on with the same events as one that never was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rondo.protocol import totem_reader
from services.cpg import wire
from services.cpg.core import Core
from tests.unit.cpg.world import World, run

Outcome = tuple[dict[int, list[list[Any]]], list[tuple[int, list[bytes]]]]


def _recorded(seed: int) -> list[totem_reader.Entry]:
    """The log of node 1 in a run with faults, as far as its ring process lived."""
    entries: list[totem_reader.Entry] = []

    def record(world: World) -> None:
        log = world.nodes[1].log
        if log.epoch == 1001 and log.head > len(entries):
            new = [log.entry(n) for n in range(len(entries) + 1, log.head + 1)]
            entries.extend(entry for entry in new if entry is not None)
            assert len(entries) == log.head, "none was freed before it was seen"

    run(seed, nodes=3, turns=700, faults=0.012, after_turn=record)
    # As they arrive: a tag has become a list on the way.
    return [_as_it_arrives(entry) if entry[0] == totem_reader.MESSAGE else entry for entry in entries]


def _as_it_arrives(entry: totem_reader.Entry) -> totem_reader.Entry:
    kind, sender, tag, *rest = entry
    return [kind, sender, None if tag is None else list(tag), *rest]


def _outcome(core: Core) -> Outcome:
    events = {session: [[*e] for e in some] for session, some in core.out.items()}
    for some in events.values():
        for event in some:
            event[:] = [bytes(field) if isinstance(field, memoryview) else field for field in event]
    return events, list(core.sync_replies)


def _after(outcome: Outcome, n: int) -> Outcome:
    events = {s: [e for e in some if e[0] > n] for s, some in outcome[0].items()}
    return {s: some for s, some in events.items() if some}, [r for r in outcome[1] if r[0] > n]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 400), batch=st.integers(1, 9))
def test_replay_from_every_position_gives_the_same(seed: int, batch: int) -> None:
    """For each position of a recorded log that may be acknowledged: snapshot, kept parts and what follows give the very
    events, sync replies and end state of the run that was never interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "PART_BYTES_MAX", 64)
        log = _recorded(seed)
        listeners = {tag[0] for entry in log if entry[0] == totem_reader.MESSAGE and (tag := entry[2]) is not None}
        whole = Core(1)
        whole.ring_listeners = set(listeners)
        whole.apply(log)
        expected = _outcome(whole)
        running = Core(1)
        for n in range(len(log) + 1):
            if n:
                running.apply(log[n - 1 : n])
            if not running.settled:
                continue
            restored = Core(1)
            restored.ring_listeners = set(listeners)
            restored.restore(running.snapshot(), n)
            for at in running.assembly.needed_at(n):
                restored.restore_part(at, log[at - 1])
            for start in range(n, len(log), batch):
                restored.apply(log[start : start + batch])
            assert _outcome(restored) == _after(expected, n)
            if whole.settled:
                assert restored.snapshot() == whole.snapshot()


def test_recorded_logs_hold_what_is_hard_to_replay() -> None:
    """Positions in the middle of long messages and many snapshots occur in these logs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "PART_BYTES_MAX", 64)
        positions = parts = 0
        for seed in range(8):
            core = Core(1)
            for entry in _recorded(seed):
                core.apply([entry])
                positions += core.settled
                parts += core.settled and bool(core.assembly.needed_at(core.n))
    assert positions > 300
    assert parts > 20
