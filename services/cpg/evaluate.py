"""Evaluates one request: it is refused with a code, or becomes a message for totem.

The requests of a session are evaluated in their order. Each is judged by the state that will hold once those before it
are done (`Session.intended`), so that a client may leave, join again and multicast without waiting in between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from rondo.protocol.batch import encode_batch
from rondo.protocol.codes import Code
from rondo.protocol.envelope import pack
from rondo.protocol.events import Reason
from rondo.protocol.requests import GROUP_NAME_BYTES_MAX, HIDDEN_PREFIX, Guarantee, Op
from rondo.protocol.totem_reader import request_cost
from services.cpg import wire
from services.cpg.core import Core
from services.cpg.sessions import Queued, Session, note_of

_QUERIES: Final = {Op.GROUPS: (2, 3), Op.NAMES: (2, 3), Op.MEMBERS: (3, 3), Op.RING: (2, 2)}
"""Shortest and longest form of each query."""

QUERY_COST_BYTES: Final = 256
"""What a query counts for while it waits, about what it takes in memory."""


def evaluate(session: Session, request: list[Any], may_join: Callable[[Session, bytes], Code]) -> Queued | Code:
    """What a request other than MCAST becomes, or the code with which it is refused.

    The session's `intended` is changed only by the former. `may_join` says OK if no other session of the process is in
    the group.
    """
    op = request[1]
    if op in (Op.JOIN, Op.LEAVE):
        if len(request) != 3:
            return Code.INVALID_PARAM
        group = request[2]
        if (code := _name_fault(group)) != Code.OK:
            return code
        if session.may_not_enqueue():
            return Code.TRY_AGAIN
        if op == Op.JOIN:
            if group in session.intended:
                return Code.EXIST
            if (code := may_join(session, group)) != Code.OK:
                return code
            session.will_join(group)
            message = wire.encode_proc_join(group, session.pid)
        else:
            if group not in session.intended:
                return Code.NOT_EXIST
            session.will_leave(group)
            message = wire.encode_proc_leave(group, session.pid, Reason.LEAVE)
        return Queued(request[0], request_cost([message]), Guarantee.AGREED, note_of(op, group), [message], None)
    if op not in _QUERIES:
        return Code.NOT_SUPPORTED
    shortest, longest = _QUERIES[op]
    if not shortest <= len(request) <= longest:
        return Code.INVALID_PARAM
    if op == Op.MEMBERS and _name_fault(request[2]) != Code.OK:
        return Code.INVALID_PARAM
    if op != Op.MEMBERS and len(request) == 3 and type(request[2]) is not bool:
        return Code.INVALID_PARAM
    if session.may_not_enqueue():
        return Code.TRY_AGAIN
    return Queued(request[0], QUERY_COST_BYTES, 0, None, None, request)


def evaluate_mcast(session: Session, request: list[Any], node_id: int, message_size_max: int) -> Queued | Code:
    """What an MCAST becomes, or the code with which it is refused."""
    if len(request) != 5:
        return Code.INVALID_PARAM
    number, _, group, guarantee, data = request
    code = _mcast_fault(session, group, guarantee, data)
    if code != Code.OK:
        return code
    if len(data) > message_size_max:
        return Code.TOO_BIG
    messages = wire.encode_mcast(group, node_id, session.pid, data)
    return Queued(number, request_cost(messages), guarantee, None, messages, None)


def evaluate_batch(session: Session, request: list[Any], node_id: int, count: int) -> Queued | Code:
    """What a BATCH of `count` messages, none of them too big, becomes, or the code with which all of it is refused."""
    number, _, group, guarantee, body = request
    code = _mcast_fault(session, group, guarantee, body)
    if code != Code.OK:
        return code
    messages = [encode_batch(group, node_id, session.pid, count, body)]
    return Queued(number + count - 1, request_cost(messages), guarantee, None, messages, None, count)


def _mcast_fault(session: Session, group: Any, guarantee: Any, data: Any) -> Code:
    """OK if this may be multicast, as far as its size does not matter; else why not."""
    if type(group) is not bytes or type(guarantee) is not int or not 0 <= guarantee <= 3:
        return Code.INVALID_PARAM
    if not isinstance(data, (bytes, memoryview)):
        return Code.INVALID_PARAM
    if group not in session.intended:
        fault = _name_fault(group)
        return Code.NOT_EXIST if fault == Code.OK else fault
    return Code.TRY_AGAIN if session.may_not_enqueue() else Code.OK


def _name_fault(group: Any) -> Code:
    """OK for a good group name, else what is wrong with it."""
    if type(group) is not bytes or not group:
        return Code.INVALID_PARAM
    return Code.NAME_TOO_LONG if len(group) > GROUP_NAME_BYTES_MAX else Code.OK


def answer(query: list[Any], core: Core) -> bytes:
    """The packed result of a query, as of now."""
    op = query[1]
    if op in (Op.GROUPS, Op.NAMES):
        shows_all = len(query) == 3 and bool(query[2])
        if op == Op.GROUPS:
            return core.table.listing(hidden=shows_all)
        return pack([group.name for group in core.table if shows_all or not group.name.startswith(HIDDEN_PREFIX)])
    if op == Op.MEMBERS:
        found = core.table.groups.get(query[2])
        return pack(found.members if found is not None else [])
    return pack(None if core.ring is None else core.ring)
