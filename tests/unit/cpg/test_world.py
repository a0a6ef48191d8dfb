"""Whole runs: several nodes, clients that join, leave and send, rings that break, every process killed at any time."""

from __future__ import annotations

from collections import Counter

import pytest

from rondo.protocol import events as ev
from services.cpg import wire
from tests.unit.cpg.checks import check
from tests.unit.cpg.world import World, run


@pytest.fixture(autouse=True)
def _short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages of 64 bytes and more are long ones here."""
    monkeypatch.setattr(wire, "PART_BYTES_MAX", 64)


@pytest.mark.parametrize("seed", range(12))
def test_nothing_breaks_without_faults(seed: int) -> None:
    """Clients on three nodes of one ring; everybody sees the same."""
    assert check(run(seed, nodes=3, turns=600, faults=0.0)) == []


@pytest.mark.parametrize("seed", [*range(24), 897])
def test_properties_hold_under_kills_and_ring_changes(seed: int) -> None:
    """cpg, gateways, ring processes and clients are killed, rings part and merge, in the middle of everything.

    In seed 897 a node leaves in the ring change that a cpg without history needs."""
    assert check(run(seed, nodes=3, turns=1200, faults=0.02)) == []


@pytest.mark.parametrize("seed", range(100, 108))
def test_properties_hold_in_a_storm(seed: int) -> None:
    """Five nodes, a fault in every tenth turn."""
    assert check(run(seed, nodes=5, turns=600, faults=0.1)) == []


def test_runs_reach_what_they_are_for() -> None:
    """All kinds of events and reasons, long messages, refusals and unknown outcomes occur in these runs."""
    kinds: Counter[int] = Counter()
    reasons: Counter[int] = Counter()
    long_messages = transitional = refused = unknown = answers = 0
    for seed in range(8):
        world = run(seed, nodes=3, turns=1200, faults=0.02)
        for client in [client for node in world.nodes.values() for client in node.clients]:
            for _, event in client.stream:
                kinds[event[1]] += 1
                if event[1] == ev.MEMBERSHIP:
                    reasons.update(member[2] for member in event[4] + event[5])
                elif event[1] == ev.MESSAGE:
                    long_messages += len(event[6]) > 64
                    transitional += event[5]
            refused += len(client.refused)
            unknown += len(client.unknown)
            answers += len(client.answers)
    assert set(kinds) >= {ev.MESSAGE, ev.MEMBERSHIP, ev.RING}
    assert set(reasons) == {ev.Reason.JOIN, ev.Reason.LEAVE, ev.Reason.NODEDOWN, ev.Reason.NODEUP, ev.Reason.PROCDOWN}
    assert min(long_messages, transitional, unknown, answers) > 0
    assert kinds[ev.MESSAGE] > 500


def test_a_cut_in_every_place_is_told_apart() -> None:
    """The checks themselves: what is dropped, doubled, swapped or relabelled in a good run does not pass."""
    for damage in (_drop, _double, _swap, _relabel):
        found = 0
        for seed in range(4):
            world = run(seed, nodes=3, turns=600, faults=0.0)
            found += damage(world) and bool(check(world))
        assert found, damage.__name__


def _message_at(world: World) -> tuple[list[tuple[int, list[object]]], int] | None:
    for client in [client for node in world.nodes.values() for client in node.clients]:
        for index, (_, event) in enumerate(client.stream):
            if event[1] == ev.MESSAGE and index + 1 < len(client.stream):
                following = client.stream[index + 1][1]
                if following[1] == ev.MESSAGE and following[6] != event[6]:
                    return client.stream, index
    return None


def _drop(world: World) -> bool:
    if (place := _message_at(world)) is not None:
        del place[0][place[1]]
    return place is not None


def _double(world: World) -> bool:
    if (place := _message_at(world)) is not None:
        place[0].insert(place[1], place[0][place[1]])
    return place is not None


def _swap(world: World) -> bool:
    if (place := _message_at(world)) is not None:
        stream, index = place
        stream[index], stream[index + 1] = stream[index + 1], stream[index]
    return place is not None


def _relabel(world: World) -> bool:
    if (place := _message_at(world)) is not None:
        place[0][place[1]][1][3] = 99
    return place is not None
