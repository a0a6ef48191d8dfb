"""Evaluates clients' requests: a code, a result, and whether anything has changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Op
from services.control import told
from services.control.cmap.values import CmapError
from services.control.core import Core
from services.control.message_counts import BELOW as COUNTS
from services.control.program_keys import delete_key, increment_key, set_key
from services.control.quorum.status import status as votes_status
from services.control.ring_view import nodes
from services.control.statistics import CLEAR, CLEARED, Statuses, counted, sources, statistics, touches

ICMAP, STATS = "icmap", "stats"
STEP_MAX = 1 << 63


class Outcome(NamedTuple):
    """The answer to a request."""

    code: Code
    result: Any
    is_change: bool = False
    """The answer must wait until the change is safe."""


class _RefusedError(Exception):
    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


def needed(op: int, arguments: dict[str, Any]) -> set[str]:
    """The services whose status this request needs."""
    if op in (Op.NODES, Op.RELOAD):
        return {"totem"}
    if op == Op.SAMPLE:
        prefix = arguments.get("prefix", "")
        # A client that asks for keys that cannot exist waits for its turn as well.
        return (sources(prefix) if type(prefix) is str else set()) or {"totem"}
    if op not in (Op.KEYS, Op.GET, Op.SET):
        return set()
    about = arguments.get("prefix" if op == Op.KEYS else "key", "")
    if type(about) is not str:
        return set()
    if arguments.get("map") == STATS:
        if op == Op.SET:
            return sources("") if about.startswith(CLEAR) else set()
        return sources(about)
    is_seen = op != Op.SET and arguments.get("map", "") in ("", ICMAP) and touches(about, COUNTS)
    return {"cpg"} if is_seen else set()


def evaluate(core: Core, op: int, arguments: dict[str, Any], statuses: Statuses | None = None) -> Outcome:
    """Carry out a request. `statuses`: of the services that are `needed` and have answered. Never raises."""
    handler = _HANDLERS.get(op)
    if handler is None:
        return Outcome(Code.NOT_SUPPORTED, f"there is no operation {op}")
    try:
        return handler(_Asked(core, arguments, statuses or {}))
    except _RefusedError as error:
        return Outcome(error.code, str(error))
    except CmapError as error:
        return Outcome(Code(int(error.refusal)), str(error))


class _Asked:
    """The arguments of one request, checked when they are read."""

    def __init__(self, core: Core, arguments: dict[str, Any], statuses: Statuses) -> None:
        self.core = core
        self.statuses = statuses
        self._arguments = arguments

    def number(self, name: str, low: int, high: int) -> int:
        value = self._arguments.get(name)
        if type(value) is not int or not low <= value <= high:
            raise _RefusedError(Code.INVALID_PARAM, f"{name} is a number from {low} to {high}")
        return value

    def text(self, name: str) -> str:
        value = self._arguments.get(name, "")
        if type(value) is not str:
            raise _RefusedError(Code.INVALID_PARAM, f"{name} is a text")
        return value

    def anything(self, name: str) -> Any:
        return self._arguments.get(name)

    def check_provider(self) -> None:
        if self.core.votes is None:
            raise _RefusedError(Code.NOT_EXIST, "no quorum: the configuration has no quorum.provider")

    def check_writable_map(self) -> None:
        if self.text("map") not in ("", ICMAP):
            raise _RefusedError(Code.NOT_SUPPORTED, "only the map icmap can be changed")


def _quorum(asked: _Asked) -> Outcome:
    return Outcome(Code.OK, quorum_status(asked.core))


def quorum_status(core: Core) -> dict[str, Any]:
    """The output of `rondo quorum --json`."""
    if core.votes is None:
        return {
            "provider": None,
            "quorate": True,
            "ring": told.ring(core.ring),
            "node": core.setup.node,
            "expected_votes": None,
            "highest_expected": None,
            "total_votes": None,
            "quorum": None,
            "flags": [],
            "nodes": [],
        }
    found = votes_status(core.votes)
    names = core.setup.names
    found["nodes"] = [{"node": node["node"], "name": names.get(node["node"], ""), **node} for node in found["nodes"]]
    return found


def _set_expected(asked: _Asked) -> Outcome:
    asked.check_provider()
    votes = asked.number("votes", 1, 255)
    if not asked.core.set_expected(votes):
        why = f"votequorum refuses {votes} expected votes: fewer than there are votes, or quorum would be lost"
        return Outcome(Code.INVALID_PARAM, why)
    return Outcome(Code.OK, None, True)


def _set_votes(asked: _Asked) -> Outcome:
    asked.check_provider()
    node, votes = asked.number("node", 0, 0xFFFFFFFF), asked.number("votes", 0, 255)
    try:
        is_done = asked.core.set_votes(node, votes)
    except KeyError:
        return Outcome(Code.NOT_EXIST, f"votequorum has never heard of node {node}")
    if not is_done:
        return Outcome(Code.INVALID_PARAM, f"votequorum refuses {votes} votes of node {node}: quorum would be lost")
    return Outcome(Code.OK, None, True)


def _cancel(asked: _Asked) -> Outcome:
    asked.check_provider()
    asked.core.cancel_wait_for_all()
    return Outcome(Code.OK, None, True)


def _kill(asked: _Asked) -> Outcome:
    node = asked.number("node", 1, 0xFFFFFFFF)
    try:
        asked.core.kill_node(node, asked.text("reason"))
    except KeyError:
        return Outcome(Code.NOT_EXIST, f"node {node} is not in the ring")
    return Outcome(Code.OK, None, True)


def _nodes(asked: _Asked) -> Outcome:
    core = asked.core
    return Outcome(
        Code.OK, nodes(core.setup, core.members, asked.statuses.get("totem", {}), core.introductions.software)
    )


def _view(asked: _Asked, which: str, about: str) -> dict[str, list[Any]]:
    """Keys that are made on request: all keys of the map stats, and the message counts of icmap."""
    if which == STATS:
        return statistics(asked.statuses, asked.core.cleared)
    if not touches(about, COUNTS):
        return {}
    return dict(asked.core.counts.keys(asked.statuses.get("cpg", {}).get("functions", ())))


def _keys(asked: _Asked) -> Outcome:
    which, prefix = asked.text("map") or ICMAP, asked.text("prefix")
    if which not in (ICMAP, STATS):
        return Outcome(Code.NOT_EXIST, f"there is no map {which}; there are {ICMAP} and {STATS}")
    found = [[key, *value] for key, value in _view(asked, which, prefix).items() if key.startswith(prefix)]
    if which == ICMAP:
        found += [[key, int(value.type), value.value] for key, value in asked.core.keys.items(prefix)]
    return Outcome(Code.OK, sorted(found, key=lambda each: str(each[0])))


def _sample(asked: _Asked) -> Outcome:
    prefix = asked.text("prefix")
    found = statistics(asked.statuses, asked.core.cleared)
    return Outcome(Code.OK, [[key, *value] for key, value in sorted(found.items()) if key.startswith(prefix)])


def _get(asked: _Asked) -> Outcome:
    which, key = asked.text("map") or ICMAP, asked.text("key")
    found = _view(asked, which, key).get(key) or (told.value(asked.core.keys.get(key)) if which == ICMAP else None)
    if found is None:
        return Outcome(Code.NOT_EXIST, f"there is no key {key}")
    return Outcome(Code.OK, found)


def _set(asked: _Asked) -> Outcome:
    key = asked.text("key")
    name = key.removeprefix(CLEAR)
    if asked.text("map") == STATS and name in CLEARED and key != name:
        asked.core.clear_statistics(counted(asked.statuses, name))
        return Outcome(Code.OK, None, True)
    asked.check_writable_map()
    set_key(asked.core, key, asked.number("type", 1, 12), asked.anything("value"))
    return Outcome(Code.OK, None, True)


def _delete(asked: _Asked) -> Outcome:
    asked.check_writable_map()
    delete_key(asked.core, asked.text("key"))
    return Outcome(Code.OK, None, True)


def _increment(asked: _Asked) -> Outcome:
    asked.check_writable_map()
    step = asked.number("step", -STEP_MAX, STEP_MAX)
    return Outcome(Code.OK, told.value(increment_key(asked.core, asked.text("key"), step)), True)


_HANDLERS: dict[int, Callable[[_Asked], Outcome]] = {
    Op.QUORUM: _quorum,
    Op.SET_EXPECTED: _set_expected,
    Op.SET_VOTES: _set_votes,
    Op.CANCEL_WAIT_FOR_ALL: _cancel,
    Op.NODES: _nodes,
    Op.KILL: _kill,
    Op.KEYS: _keys,
    Op.SAMPLE: _sample,
    Op.GET: _get,
    Op.SET: _set,
    Op.DELETE: _delete,
    Op.INCREMENT: _increment,
}
