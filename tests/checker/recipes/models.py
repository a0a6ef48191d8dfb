"""What a register, permits (lock, semaphore, election) and a queue are, as states and steps for the search.

A process that is cut off, or dies, gives back what it holds at some place of the order that no caller sees: a silent
step. What a call with an unknown outcome may have done is told apart from what is wrong by what is seen later; each
model says how.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from tests.checker.recipes.linearizability import Operation

Held = frozenset[tuple[str, int]]
"""Who, and the fencing token."""
PermitsState = tuple[Held, int]
"""What is held, and the last token."""
QueueState = tuple[tuple[int, ...], frozenset[int], Held, int]
"""Items that nobody had yet, items that were given back, items that somebody has, and the last number."""

REGISTER: Hashable = None
PERMITS: PermitsState = (frozenset(), 0)
QUEUE: QueueState = ((), frozenset(), frozenset(), 0)


def register(value: Any, operation: Operation) -> Iterable[Hashable]:
    """`get`, `put value`, `put_if expected value`."""
    name, *arguments = operation.what
    if name == "get":
        return [value] if not operation.has_ended or operation.result == value else []
    if name == "put":
        return [arguments[0]]
    expected, new = arguments
    was = expected == value
    return [new if was else value] if not operation.has_ended or operation.result is was else []


class Permits:
    """`acquire`, which gives a token larger than all before, and `release token`: whether it was held still.

    An acquire without an answer may have had a token that nobody knows, so tokens may be left out. A release without
    one is as if its process was cut off.
    """

    def __init__(self, permits: int) -> None:
        self._permits = permits

    def step(self, state: PermitsState, operation: Operation) -> Iterable[PermitsState]:
        """What may follow."""
        held, last = state
        if operation.what[0] == "acquire":
            fencing = operation.result
            is_free = len(held) < self._permits and fencing > last
            return [(held | {(operation.who, fencing)}, fencing)] if is_free else []
        mine = (operation.who, operation.what[1])
        return [(held - {mine}, last)] if operation.result is (mine in held) else []

    @staticmethod
    def silent(state: PermitsState) -> Iterable[PermitsState]:
        """Somebody is cut off."""
        held, last = state
        return [(frozenset(each for each in held if each[0] != who), last) for who in {who for who, _ in held}]


class Queue:
    """`put`, which gives a number, `get`, `done item`, `back item`: whether it was held still. Each with `ghosts`.

    Items come in the order in which they were put, but for those that somebody had: those come at any time, once they
    are given back. `ghosts`: so many calls of `get` without an answer may have had an item meanwhile, and given it
    back.
    """

    @staticmethod
    def step(state: QueueState, operation: Operation) -> Iterable[QueueState]:
        """What may follow."""
        line, loose, taken, last = state
        name, ghosts, *arguments = operation.what
        result = operation.result
        if name == "put":
            if result <= last:
                return []
            line, last = (*line, result), result
        line, loose = line[ghosts:], loose | set(line[:ghosts])
        if name == "put":
            return [(line, loose, taken, last)]
        if name == "get" and result is None:
            return [(line, loose, taken, last)] if len(line) + len(loose) <= ghosts else []
        if name == "get":
            if result not in loose and result not in line[:1]:
                return []
            left = line[1:] if result in line else line
            return [(left, loose - {result}, taken | {(operation.who, result)}, last)]
        mine = (operation.who, arguments[0])
        if result is not (mine in taken):
            return []
        back = {arguments[0]} if name == "back" and result else set()
        return [(line, loose | back, taken - {mine}, last)]

    @staticmethod
    def silent(state: QueueState) -> Iterable[QueueState]:
        """Somebody is cut off, and others may have its items."""
        line, loose, taken, last = state
        for who in {who for who, _ in taken}:
            back = {item for each, item in taken if each == who}
            yield line, loose | back, frozenset(each for each in taken if each[0] != who), last
