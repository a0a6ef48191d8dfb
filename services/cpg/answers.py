"""Replies that are due to sessions: refusals at once, answers to queries a bounded number of bytes in each turn.

A query is a few bytes and its answer may be megabytes, so queries wait in the session's queue, where they count for
what they may cost, until there is room in a turn. What many ask, the list of groups, is packed once for each change.
"""

from __future__ import annotations

from typing import Final

from rondo.protocol.codes import Code
from rondo.protocol.cpg_gateway import KIND_SHIFT
from rondo.protocol.envelope import pack
from rondo.protocol.requests import encode_packed_replies, encode_packed_reply
from services.cpg.core import Core
from services.cpg.evaluate import answer

ANSWER_BYTES_PER_TURN: Final = 256 * 1024
"""Once the answers of a turn have so many bytes, the other queries wait for the next turn (one answer always fits)."""


class Answers:
    """The replies of one turn, by session, in the order of the requests."""

    def __init__(self) -> None:
        self._replies: dict[int, list[bytes]] = {}
        self._bytes = 0
        """Of the answers in this turn."""
        self._core: Core | None = None
        self._version = -1
        self._packed: dict[int, bytes] = {}
        """Answers to queries without arguments, as of `_version` of `_core`."""
        self.were_held_back = False
        """Whether a query waits for the next turn, ..."""
        self.is_congested = False
        """... because the gateway is behind."""

    def has_room(self, *, is_congested: bool) -> bool:
        """Whether another query may be answered in this turn; if not, `were_held_back` says so until `begin_turn`.
        While the gateway is behind none is: answers would be a larger form of queries, and others' events wait behind
        them."""
        if self._bytes < ANSWER_BYTES_PER_TURN and not is_congested:
            return True
        self.were_held_back = True
        self.is_congested |= is_congested
        return False

    def begin_turn(self) -> None:
        """A new turn has its own bytes."""
        self._bytes = 0
        self.were_held_back = self.is_congested = False

    def refuse(self, ident: int, last: int, count: int, code: Code) -> None:
        """The `count` requests up to `last` have no effect."""
        replies = self._replies.setdefault(ident, [])
        nil = pack(None)
        replies.extend(encode_packed_reply(number, int(code), nil) for number in range(last - count + 1, last + 1))

    def answer(self, ident: int, query: list[object], core: Core) -> None:
        """The result of a query, as of now."""
        result = self._result(query, core)
        number = query[0]
        assert isinstance(number, int)
        self._bytes += len(result)
        self._replies.setdefault(ident, []).append(encode_packed_reply(number, int(Code.OK), result))

    def _result(self, query: list[object], core: Core) -> bytes:
        op = query[1]
        if len(query) > 2 or not isinstance(op, int):
            return answer(query, core)
        if core is not self._core or core.version != self._version:
            self._core, self._version = core, core.version
            self._packed.clear()
        packed = self._packed.get(op)
        if packed is None:
            packed = self._packed[op] = answer(query, core)
        return packed

    def forget(self, kind: int) -> None:
        """Drop the replies to sessions of a gateway that is gone."""
        for ident in [ident for ident in self._replies if ident >> KIND_SHIFT == kind]:
            del self._replies[ident]

    def take(self) -> list[list[object]]:
        """`[session, blob]` of all replies that are due; they count as sent."""
        if not self._replies:
            return []
        taken: list[list[object]] = [[ident, encode_packed_replies(some)] for ident, some in self._replies.items()]
        self._replies.clear()
        return taken
