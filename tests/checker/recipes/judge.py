"""All rules for what the callers of a group of processes saw, whose states live in memory as long as the group does.

    faults(calls, finals)   what is broken, one line each

Recipes are known by their names up to a colon: `dict` (a register: the name has the key), `counter`, `lock`,
`semaphore`, `election`, `queue`, `barrier`, `once`. `finals` holds what each process saw at the end; it is empty if the
group did not live to see one. `notes` outlive their processes, so they have a judge of their own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.checker.recipes.history import Call
from tests.checker.recipes.linearizability import FOR_EVER, Step, first_fault
from tests.checker.recipes.models import PERMITS, QUEUE, REGISTER, Permits, Queue, register

PERMITS_OF = {"lock": 1, "election": 1, "semaphore": 2}
PARTIES = 3
Finals = Mapping[str, Sequence[Any]]


def faults(calls: Mapping[str, Sequence[Call]], finals: Finals) -> list[str]:
    """What is broken. Raises OverflowError if a search gets too large."""
    found = []
    for recipe, of_recipe in calls.items():
        kind = recipe.split(":")[0]
        said = RULES[kind](of_recipe, finals.get(recipe, ())) if kind in RULES else _permits(kind, of_recipe)
        found += [f"{recipe}: {each}" for each in said]
    return found


def _searched(calls: Sequence[Call], start: Any, step: Step, silent: Any = lambda _: ()) -> list[str]:
    fault = first_fault([call.operation for call in calls], start, step, silent)
    return [] if fault is None else [f"not linearizable: {fault} cannot have ended so"]


def _register(calls: Sequence[Call], _finals: Sequence[Any]) -> list[str]:
    # A read without an answer has done nothing.
    return _searched([call for call in calls if call.is_known or call.what[0] != "get"], REGISTER, register)


def _permits(kind: str, calls: Sequence[Call]) -> list[str]:
    permits = Permits(PERMITS_OF[kind])
    return _searched([call for call in calls if call.is_known], PERMITS, permits.step, permits.silent)


def _counter(calls: Sequence[Call], finals: Sequence[int]) -> list[str]:
    """Steps of one. Their values say in which order they took effect."""
    known = [call for call in calls if call.is_known]
    steps = [call.result for call in known if call.what[0] == "add"]
    found = [f"{value} was given to {n} callers" for value, n in Counter(steps).items() if n > 1]
    by_end = sorted(known, key=lambda call: call.ended)
    highest = [0]
    for call in by_end:
        highest.append(max(highest[-1], call.result))
    ends = [call.ended for call in by_end]
    for call in known:
        before = highest[bisect_left(ends, call.began)]
        if call.result < before + (call.what[0] == "add"):
            found.append(f"not linearizable: {call} after {before} was seen")
    if finals:
        unknown = sum(call.what[0] == "add" and not call.is_known for call in calls)
        if len(set(finals)) > 1:
            found.append(f"at the end it is {finals}")
        if not max(steps, default=0) <= finals[0] <= len(steps) + unknown or finals[0] < len(steps):
            found.append(f"{len(steps)} steps were acknowledged, {unknown} may have been done, and it is {finals[0]}")
    return found


def _queue(calls: Sequence[Call], finals: Sequence[Any]) -> list[str]:
    given = [call for call in calls if call.what[0] == "get" and call.result is not None]
    value_of: dict[int, Any] = {}
    found = []
    puts = [(call.result, call.what[1]) for call in calls if call.what[0] == "put" and call.is_known]
    for item, value in [*puts, *(call.result for call in given)]:
        if value_of.setdefault(item, value) != value:
            found.append(f"item {item} is {value_of[item]} and {value}")
    twice = [value for value, n in Counter(value_of.values()).items() if n > 1]
    found += [f"{value} was put once and is there twice" for value in twice]
    found += _searched(_queue_history(calls, given), QUEUE, Queue.step, Queue.silent)
    if finals:
        seen = {call.result[0] for call in given}
        found += [f"item {item} was acknowledged and is lost" for item, _ in puts if item not in seen]
    return found


def _queue_history(calls: Sequence[Call], given: Sequence[Call]) -> list[Call]:
    ghosts = [call for call in calls if call.what[0] == "get" and not call.is_known]
    windows = [(ghost.began, _ghost_end(calls, ghost)) for ghost in ghosts]
    first_seen: dict[Any, Call] = {}
    for call in sorted(given, key=lambda call: call.ended):
        first_seen.setdefault(call.result[1], call)
    history = []
    for call in calls:
        name, *arguments = call.what
        known = call
        if name == "put" and not call.is_known:
            # It was done if its value was seen, and before that; else it makes no difference.
            if (seen := first_seen.get(arguments[0])) is None:
                continue
            known = replace(call, ended=seen.ended, result=seen.result[0])
        elif not call.is_known:
            continue
        elif name == "get" and call.result is not None:
            known = replace(call, result=call.result[0])
        around = sum(began <= known.ended and known.began <= ended for began, ended in windows)
        history.append(replace(known, what=(name, around, *arguments)))
    return history


def _ghost_end(calls: Sequence[Call], ghost: Call) -> int:
    """When a call without an answer surely holds nothing: its process gives back what it was given, in the order of its
    commands; a killed one is gone before another joins on its node."""
    node = ghost.who.split(".")[0]
    for call in calls:
        is_later = call.began >= ghost.failed or (call.who != ghost.who and call.began > ghost.began)
        if is_later and call.is_known and call.who.split(".")[0] == node:
            return call.ended
    return FOR_EVER


def _barrier(calls: Sequence[Call], _finals: Sequence[Any]) -> list[str]:
    """Who was let through met others who waited at the same time."""
    over = {call: call.ended if call.is_known else _ghost_end(calls, call) for call in calls}
    found = []
    for call in calls:
        if call.is_known:
            there = {other.who for other in calls if other.began <= call.ended and call.began <= over[other]}
            if len(there) < PARTIES:
                found.append(f"{call} met only {sorted(there)}")
    return found


def _once(calls: Sequence[Call], _finals: Sequence[Any]) -> list[str]:
    results = {call.result for call in calls if call.is_known}
    return [f"it ended more than once: {sorted(results)}"] if len(results) > 1 else []


def notes(calls: Sequence[Call], finals: Sequence[Sequence[str]]) -> list[str]:
    """A list of all commands, which outlives whole stops: none is lost, none is there twice, and they are in order."""
    found = []
    if any(final != finals[0] for final in finals):
        found.append(f"the states differ: {[len(final) for final in finals]} notes")
    at = {note: n for n, note in enumerate(finals[0])} if finals else {}
    if finals and len(at) < len(finals[0]):
        found.append(f"notes are there twice: {[note for note, n in Counter(finals[0]).items() if n > 1]}")
    known = sorted((call for call in calls if call.is_known), key=lambda call: call.ended)
    lost = [call.what[1] for call in known if call.what[1] not in at]
    if finals and lost:
        return [*found, f"acknowledged and lost: {lost}"]
    ends = [call.ended for call in known]
    latest = [-1]
    for call in known:
        latest.append(max(latest[-1], at.get(call.what[1], -1)))
    late = [call for call in known if finals and at[call.what[1]] < latest[bisect_left(ends, call.began)]]
    return found + [f"out of order: {call}" for call in late]


RULES = {
    "dict": _register, "counter": _counter, "queue": _queue, "barrier": _barrier, "once": _once,
}  # fmt: skip
