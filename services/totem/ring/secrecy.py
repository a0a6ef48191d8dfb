"""The secret of a ring: when in the forming of a ring its members come to it, and with whom none is formed.

What is done is a `Keeper`'s (services/totem/security/agreement.py); the ring carries what it gives and looks at none of
it. Joins bring the public key of each node, the commit token those of all members and, from hop to hop, the secret:

    form_ring         the keys of all members are known: the token has them, and the secret is drawn
    first sight       the secret is taken, something of this node is stirred into it, and it is passed on
    second sight      the secret is taken: it is the same for all. From here on the ring's packets are sealed with it.
                      Once the token is passed on this node's pair of keys is wiped; the next join has another one
    installation      the secret of the ring before is wiped

A ring of which a member has no key (an earlier version, or it is switched off there) has no secret. Who requires one
does not go into it. So that rings do not flutter between two who exclude each other, everybody keeps to what the
strictest asks of those who are in its ring, or on their way into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from services.totem.ring.events import NoticeCode
from services.totem.wire.base import Reason
from services.totem.wire.frames import PROCESSORS_MAX, Commit, Join

if TYPE_CHECKING:
    from services.totem.ring.state import RingState
    from services.totem.wire.base import RingId


class Keeper(Protocol):
    """Makes, takes and keeps secrets of rings."""

    @property
    def is_required(self) -> bool:
        """Whether this node goes into no ring without."""

    def public(self) -> bytes:
        """This node's present ephemeral public key."""

    def start(self) -> None:
        """Draw the secret of a ring."""

    def stir(self) -> None:
        """Put something of this node into it, and let go of that of a ring that was formed in vain."""

    def take(self, ring: RingId, token_seq: int, sender: int, public: bytes, box: bytes) -> bool:
        """Take it out of the box that came with the commit token; whether that could be done."""

    def give(self, ring: RingId, token_seq: int, target: int, public: bytes) -> bytes:
        """The box for the member that is next."""

    def form(self, ring: RingId, members: Sequence[int], publics: Sequence[bytes]) -> None:
        """The secret is complete: seal with it from now on; without `publics` there is none."""

    def forget(self) -> None:
        """The token was passed on: the pair of keys has done its work."""

    def install(self) -> None:
        """The ring that was formed last is installed."""

    def end(self) -> None:
        """This node leaves."""


class Secrecy:
    """What is known of others' keys. Only this module writes it."""

    __slots__ = ("formed", "in_force", "keeper", "publics", "refused", "requiring", "without")

    def __init__(self, keeper: Keeper | None) -> None:
        self.keeper = keeper
        """None: this node has no secrets."""
        self.publics: dict[int, bytes] = {}
        """From the last join of each node that has a key, since a ring was formed: after that all have other keys."""
        self.requiring: set[int] = set()
        """Nodes that go into no ring without."""
        self.refused: set[int] = set()
        """Nodes with which no ring is formed for the time being."""
        self.in_force = False
        """The installed ring has a secret."""
        self.without: set[int] = set()
        """Nodes whose last join had no key."""
        self.formed = False
        """The ring that is being formed has one."""


def introduce(s: RingState) -> tuple[bytes, bool]:
    """What a join says of this node: its public key, and whether it requires a secret."""
    keeper = s.secrecy.keeper
    return (keeper.public(), keeper.is_required) if keeper is not None else (b"", False)


def check_join(s: RingState, join: Join) -> Reason | None:
    """Whether its sender may be in a ring with this node; what it says of its key is noted."""
    secrecy, keeper, sender = s.secrecy, s.secrecy.keeper, join.sender
    if join.is_leave or sender == s.node_id:
        return None
    if keeper is None:
        excluded = join.secrecy_required
    else:
        excluded = not join.public and (keeper.is_required or _is_asked_for(s))
    if excluded:
        if sender not in secrecy.refused:
            if len(secrecy.refused) < PROCESSORS_MAX:
                secrecy.refused.add(sender)
            s.notice(NoticeCode.SECRECY_DIFFERS, sender, keeper is not None)
        return Reason.SECRECY_DIFFERS
    secrecy.refused.discard(sender)
    if keeper is not None:
        _note(secrecy, join)
    return None


def _is_asked_for(s: RingState) -> bool:
    """Whether somebody requires a secret who is in the ring, or on his way into it."""
    there = s.consensus.proc.difference(s.consensus.failed).union(s.membership.members)
    return not s.secrecy.requiring.isdisjoint(there)


def _note(secrecy: Secrecy, join: Join) -> None:
    secrecy.requiring.discard(join.sender)
    secrecy.without.discard(join.sender)
    secrecy.publics.pop(join.sender, None)
    if not join.public and len(secrecy.without) < PROCESSORS_MAX:
        secrecy.without.add(join.sender)
    if join.public and len(secrecy.publics) < PROCESSORS_MAX:
        secrecy.publics[join.sender] = join.public
        if join.secrecy_required and len(secrecy.requiring) < PROCESSORS_MAX:
            secrecy.requiring.add(join.sender)


def start(s: RingState, members: Sequence[int]) -> tuple[bytes, ...]:
    """This node forms a ring: the keys of its members if all have one, and a secret is drawn."""
    secrecy, keeper = s.secrecy, s.secrecy.keeper
    if keeper is None:
        return ()
    known = {**secrecy.publics, s.node_id: keeper.public()}
    if not all(node in known for node in members):
        return ()
    keeper.start()
    return tuple(known[node] for node in members)


def take(s: RingState, commit: Commit) -> bool:
    """The commit token has come: take the secret out of it. False: it cannot be, and the token is refused."""
    keeper = s.secrecy.keeper
    if keeper is None:
        return True
    if not commit.publics:
        return not keeper.is_required and s.secrecy.requiring.isdisjoint(commit.addrs)
    if len(commit.addrs) == 1:
        return True  # a ring of this node alone: the token has never left it
    if commit.sender not in commit.addrs:
        return False
    public = commit.publics[commit.addrs.index(commit.sender)]
    return keeper.take(commit.ring, commit.token_seq, commit.sender, public, commit.box)


def stir(s: RingState) -> None:
    """The commit token is on its first round."""
    if s.secrecy.keeper is not None:
        s.secrecy.keeper.stir()


def give(s: RingState, commit: Commit) -> None:
    """The commit token leaves: put the secret into it, for the next member."""
    keeper, target = s.secrecy.keeper, s.membership.token_target
    if keeper is not None and len(commit.publics) > 1:
        public = commit.publics[commit.addrs.index(target)]
        commit.box = keeper.give(commit.ring, commit.token_seq, target, public)


def form(s: RingState, commit: Commit) -> None:
    """The commit token is on its second round: the secret is the ring's."""
    secrecy = s.secrecy
    if secrecy.keeper is not None:
        secrecy.keeper.form(commit.ring, commit.addrs, commit.publics)
        secrecy.formed = bool(commit.publics)


def forget(s: RingState) -> None:
    """The commit token was passed on for the second time."""
    secrecy = s.secrecy
    if secrecy.keeper is not None:
        secrecy.keeper.forget()
        secrecy.publics.clear()


def install(s: RingState) -> None:
    """The ring is installed: the secret of the one before is gone."""
    secrecy = s.secrecy
    if secrecy.keeper is not None:
        secrecy.keeper.install()
        secrecy.in_force = secrecy.formed


def end(s: RingState) -> None:
    """This node leaves."""
    if s.secrecy.keeper is not None:
        s.secrecy.keeper.end()
        s.secrecy.in_force = False


def announces(s: RingState) -> bool:
    """Whether the ring is to announce itself also while it is busy: others, who cannot open its packets, would not know
    that it is there. Where all nodes of the nodelist are in it there is nobody to tell."""
    if not s.secrecy.in_force:
        return False
    nodes = s.options.members
    return nodes is None or len(s.membership.members) < len(nodes)
