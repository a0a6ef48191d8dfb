"""Clients' requests about shutdowns: checks their arguments; `services.control.cfg.shutdown` carries them out."""

from __future__ import annotations

from typing import Any

from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Op
from services.control.cfg.shutdown import IMMEDIATE, NAME_CHARACTERS_MAX, REQUEST, Answer, Place, Shutdowns
from services.control.cmap.keymap import Keymap
from services.control.cmap.values import Type

OPS = (Op.SHUTDOWN, Op.TRACK_SHUTDOWN, Op.UNTRACK_SHUTDOWN, Op.VOTE_ON_SHUTDOWN)
TIMEOUT_KEY = "cfg.shutdown_timeout"
TIMEOUT_MS = 5000
"""How long trackers may take to answer, unless the key is set."""


def ask(
    shutdowns: Shutdowns, keys: Keymap, place: Place, op: int, arguments: dict[str, Any], answer: Answer, now_ns: int
) -> None:
    """Carry out a request. Never raises."""
    name = arguments.get("tracker", "")
    if type(name) is not str or len(name) > NAME_CHARACTERS_MAX or not (name or op == Op.SHUTDOWN):
        answer(place, Code.INVALID_PARAM, f"tracker is a name of 1 to {NAME_CHARACTERS_MAX} characters")
    elif op == Op.SHUTDOWN:
        flags = arguments.get("flags", REQUEST)
        if type(flags) is not int or not REQUEST <= flags <= IMMEDIATE:
            answer(place, Code.INVALID_PARAM, "flags is 0, 1 or 2")
        else:
            shutdowns.ask(place, flags, name, _timeout_ms(keys), now_ns)
    elif op == Op.TRACK_SHUTDOWN:
        after = arguments.get("after", 0)
        if type(after) is not int or after < 0:
            answer(place, Code.INVALID_PARAM, "after is the number of an event")
        else:
            shutdowns.track(place, name, after, now_ns)
    elif op == Op.UNTRACK_SHUTDOWN:
        shutdowns.untrack(name)
        answer(place, Code.OK, None)
    elif type(agrees := arguments.get("agrees")) is not bool:
        answer(place, Code.INVALID_PARAM, "agrees is true or false")
    else:
        shutdowns.vote(place, name, agrees=agrees)


def _timeout_ms(keys: Keymap) -> int:
    found = keys.get(TIMEOUT_KEY)
    if found is None or found.type != Type.U32 or not isinstance(found.value, int):
        return TIMEOUT_MS
    return found.value
