"""A reload in two phases: all Rondo nodes check their file and vote; then one message makes all change at once.

    PROPOSE   a node proposes a reload. It names the members that are Rondo nodes; each of them reads its file.
    VOTE      a node's result: faults, or digests of the options that must be the same everywhere
    RELOAD    Corosync's own message. The proposer sends it when all have voted for it. When it is delivered, each node
              changes to the candidate that it voted with. C nodes read their file then.
    ABORT     a member has not voted in time

All messages are ordered, so all nodes draw the same conclusions from the votes. A ring change ends the reload: a node
that has not had RELOAD before keeps its configuration. RELOAD is SAFE (`rondo.protocol.totem_control.is_safe`): if one
node delivers it, all members of its ring have received it. A partition at that very moment may still leave the two
sides with different files in force. No protocol can prevent that without blocking. The nodes log it when they meet
(introductions.py).

A RELOAD of a C node is handled as C nodes do: each node reads its file by itself, and keeps its configuration if the
file has faults.

No I/O: the caller reads the file when `check_wanted` is set, and reports the result by `checked`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rondo.protocol.envelope import (
    Check,
    any_value,
    array_of,
    is_bytes,
    is_text,
    is_u32,
    is_u64,
    record,
    written_as,
)
from services.control.cfg import wire

VOTE_NS_MAX = 30_000_000_000
"""After so long without all votes the proposer gives up."""
VOTERS_MAX = 384
FAULTS_MAX = 4
FAULT_CHARACTERS_MAX = 300
DIGESTS_MAX = 8

_PROPOSE, _VOTE, _ABORT = 0, 1, 2

Id = tuple[int, int]
"""(proposer, its number for the proposal)"""


class Candidate(NamedTuple):
    """The result of reading the file."""

    config: bytes | None
    """The packed configuration; None: there are faults."""
    faults: Sequence[str] = ()
    changed: Sequence[str] = ()
    """Names of the options that change."""
    digests: Mapping[str, bytes] = {}
    """Digests of the options that must be the same on all nodes, by a name for them."""


class Fault(NamedTuple):
    """A reason why nothing has changed."""

    node: int
    fault: str


class Outcome(NamedTuple):
    """The result of a reload that was requested here."""

    number: int
    faults: tuple[Fault, ...]
    changed: tuple[str, ...] = ()


@dataclass(slots=True)
class _Vote:
    faults: list[str]
    digests: dict[str, bytes]


@dataclass(slots=True)
class _Pending:
    ident: Id
    voters: tuple[int, ...]
    until_ns: int
    votes: dict[int, _Vote] = field(default_factory=dict)
    candidate: Candidate | None = None
    """This node's candidate, once it has voted with it."""
    is_agreed: bool = False


class Reload:
    """One node's part in a reload."""

    def __init__(self, node: int) -> None:
        self.node = node
        self.outbox: list[bytes] = []
        self.outcomes: list[Outcome] = []
        self.notices: list[str] = []
        self.adopt: Candidate | None = None
        """The candidate to put in force now. The caller takes it."""
        self.check_number = 0
        """Grows whenever the file must be read again."""
        self.check_wanted = False
        self.unmatched = 0
        """Messages about unknown reloads."""
        self._pending: _Pending | None = None
        self._proposed: int | None = None
        """Number of this node's own proposal, until it is delivered."""
        self._alone = False
        """The file is read because a C node has asked for it."""

    @property
    def is_pending(self) -> bool:
        """Whether a reload is in progress, as far as this node knows."""
        return self._pending is not None or self._proposed is not None

    @property
    def own_number(self) -> int | None:
        """Number of the reload in progress that this node has proposed."""
        if self._proposed is not None:
            return self._proposed
        pending = self._pending
        return pending.ident[1] if pending is not None and pending.ident[0] == self.node else None

    def propose(self, voters: Sequence[int], now_ns: int) -> int:
        """Propose a reload; none may be pending. Returns its number. An `Outcome` follows, unless totem dies."""
        assert not self.is_pending
        # Numbers grow over restarts of this process, and never repeat on this node.
        number = self._proposed = now_ns & wire.NUMBER_MAX
        self._say([_PROPOSE, number, sorted({self.node, *voters})])
        return number

    def _say(self, body: list[Any]) -> None:
        self.outbox.append(wire.encode_among_rondo(self.node, body))

    # Delivered messages.

    def heard(self, sender: int, body: Any, now_ns: int) -> None:
        """A message of a Rondo node was delivered. Raises `MalformedError`."""
        if _is_propose(body) and len(body[2]) <= VOTERS_MAX:
            self._heard_propose((sender, body[1]), tuple(body[2]), now_ns)
        elif _is_vote(body) and _is_texts(body[3]) and _is_digests(body[4]):
            faults = [text[:FAULT_CHARACTERS_MAX] for text in body[3]]
            self._heard_vote(sender, (body[1], body[2]), _Vote(faults, dict(body[4])))
        elif _is_abort(body):
            if self._pending is not None and self._pending.ident == (sender, body[1]):
                self._end([Fault(node, body[3]) for node in body[2]])
        else:
            raise wire.MalformedError("not a message of a reload")

    def _heard_propose(self, ident: Id, voters: tuple[int, ...], now_ns: int) -> None:
        if ident == (self.node, self._proposed):
            self._proposed = None
        if self._pending is not None:
            if ident[0] == self.node:
                why = f"a reload by node {self._pending.ident[0]} is in progress; try again"
                self.outcomes.append(Outcome(ident[1], (Fault(self._pending.ident[0], why),)))
            return
        self.notices.append(f"Node {ident[0]} asks all nodes to read their configuration anew.")
        self._pending = _Pending(ident, voters, now_ns + VOTE_NS_MAX)
        # A file that is being read because a C node has asked for it comes first. It would be lost with the proposal.
        if self.node in voters and not self._alone:
            self._want_check(alone=False)

    def _want_check(self, *, alone: bool) -> None:
        self._alone = alone
        self.check_wanted = True
        self.check_number += 1

    def _heard_vote(self, sender: int, ident: Id, vote: _Vote) -> None:
        pending = self._pending
        if pending is None or pending.ident != ident or sender not in pending.voters or sender in pending.votes:
            self.unmatched += 1
            return
        pending.votes[sender] = vote
        if len(pending.votes) < len(pending.voters):
            return
        faults = [Fault(node, text) for node, vote in sorted(pending.votes.items()) for text in vote.faults]
        if faults := faults or _differences(pending.votes):
            self._end(faults)
            return
        pending.is_agreed = True
        if ident[0] == self.node:
            self.outbox.append(wire.encode_reload(*ident))

    def heard_reload(self, source: int, number: int | None) -> None:
        """A RELOAD was delivered: all nodes change now, or a C node wants all nodes to read their file."""
        pending = self._pending
        if number is None:
            self.notices.append(f"Node {source}, a C node, has all nodes read their configuration anew.")
            if pending is not None:
                self._end([Fault(source, "this C node has reloaded meanwhile; try again")])
            self._want_check(alone=True)
        elif pending is None or pending.ident != (source, number) or not pending.is_agreed:
            self.unmatched += 1
        else:
            candidate, self._pending = pending.candidate, None
            if candidate is None:
                self._want_check(alone=True)  # this Rondo node was not known as one
                return
            self.adopt = candidate
            if source == self.node:
                self.outcomes.append(Outcome(number, (), tuple(candidate.changed)))

    def ring_changed(self) -> None:
        """A ring was installed: an unfinished reload ends."""
        why = "the ring changed meanwhile; try again"
        if self._proposed is not None:
            self.outcomes.append(Outcome(self._proposed, (Fault(self.node, why),)))
            self._proposed = None
        if self._pending is not None:
            self._end([Fault(self.node, why)])

    def _end(self, faults: Sequence[Fault]) -> None:
        """End the reload without a change."""
        pending, self._pending = self._pending, None
        assert pending is not None
        if not self._alone:
            self.check_wanted = False
            self.check_number += 1
        self.notices += [f"The configuration stays as it is: node {node}: {text}" for node, text in faults]
        if pending.ident[0] == self.node:
            self.outcomes.append(Outcome(pending.ident[1], tuple(faults)))

    # Results from the caller, and time.

    def checked(self, number: int, candidate: Candidate) -> None:
        """The file was read. `number`: `check_number` as it was then."""
        if number != self.check_number:
            return
        self.check_wanted = False
        pending = self._pending
        if self._alone:
            self._alone = False
            if candidate.config is not None:
                self.adopt = candidate
            else:
                self.notices += [f"The configuration stays as it is: {text}" for text in candidate.faults]
            if pending is not None and self.node in pending.voters:
                self._want_check(alone=False)
        elif pending is not None and pending.candidate is None:
            pending.candidate = candidate
            faults = [text[:FAULT_CHARACTERS_MAX] for text in candidate.faults[:FAULTS_MAX]]
            self._say([_VOTE, *pending.ident, faults, sorted(candidate.digests.items())])

    def next_deadline_ns(self) -> int | None:
        """When `advance` is to be called."""
        pending = self._pending
        return pending.until_ns if pending is not None and pending.ident[0] == self.node else None

    def advance(self, now_ns: int) -> None:
        """Abort the reload if it is time."""
        pending = self._pending
        due_ns = self.next_deadline_ns()
        if pending is not None and due_ns is not None and due_ns <= now_ns:
            silent = [node for node in pending.voters if node not in pending.votes]
            self._say([_ABORT, pending.ident[1], silent, f"has not answered within {VOTE_NS_MAX // 10**9} s"])
            pending.until_ns = now_ns + VOTE_NS_MAX

    # Snapshots.

    def snapshot(self) -> list[Any]:
        """The state, without the parts that the caller takes at once."""
        pending = self._pending
        return [
            self._proposed,
            [self._alone, self.check_wanted, self.check_number],
            None
            if pending is None
            else [
                list(pending.ident),
                list(pending.voters),
                pending.until_ns,
                [[node, vote.faults, list(vote.digests.items())] for node, vote in pending.votes.items()],
                None if pending.candidate is None else pack_candidate(pending.candidate),
                pending.is_agreed,
            ],
        ]

    @classmethod
    def restore(cls, node: int, snapshot: list[Any]) -> Reload:
        """The state of a snapshot. A file that was being read is read again."""
        found = cls(node)
        found._proposed, (found._alone, found.check_wanted, found.check_number), pending = snapshot
        if pending is not None:
            ident, voters, until_ns, votes, candidate, is_agreed = pending
            found._pending = _Pending(
                tuple(ident),
                tuple(voters),
                until_ns,
                {node: _Vote(faults, dict(digests)) for node, faults, digests in votes},
                None if candidate is None else unpack_candidate(candidate),
                is_agreed,
            )
        return found


def pack_candidate(candidate: Candidate) -> list[Any]:
    """A candidate as a list."""
    return [candidate.config, list(candidate.faults), list(candidate.changed), list(candidate.digests.items())]


def unpack_candidate(values: list[Any]) -> Candidate:
    """The candidate that `pack_candidate` packed."""
    config, faults, changed, digests = values
    return Candidate(config, faults, changed, dict(digests))


def _differences(votes: Mapping[int, _Vote]) -> list[Fault]:
    """Faults for the nodes whose file differs from the first node's."""
    first = min(votes)
    return [
        Fault(node, f"{name} differs from node {first}'s file; write the same on all nodes")
        for node, vote in sorted(votes.items())
        for name in sorted(votes[first].digests.keys() | vote.digests.keys())
        if vote.digests.get(name) != votes[first].digests.get(name)
    ]


def _is_digests(value: Any) -> bool:
    return len(value) <= DIGESTS_MAX and array_of(record(name=is_text, digest=is_bytes))(value)


def _is_texts(value: Any) -> bool:
    return len(value) <= FAULTS_MAX and array_of(is_text)(value)


def _is_kind(kind: int) -> Check:
    return written_as(lambda value: type(value) is int and value == kind, str(kind))


_is_list = array_of(any_value)
_is_propose = record(kind=_is_kind(_PROPOSE), number=is_u64, voters=array_of(is_u32))
_is_vote = record(kind=_is_kind(_VOTE), source=is_u32, number=is_u64, faults=_is_list, digests=_is_list)
_is_abort = record(kind=_is_kind(_ABORT), number=is_u64, silent=array_of(is_u32), why=is_text)
