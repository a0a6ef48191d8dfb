"""The secret of a ring: at which step of the formation each member gets it, and with which nodes no ring is formed.

A `Keeper` (services/totem/security/agreement.py) makes and opens the secrets. The ring only carries them. A join brings
its sender's public key. The commit token brings the public keys of all members and, sealed anew at each hop, the
secret:

    form_ring         the keys of all members are known: they go into the token, and the secret is drawn
    first sight       the member opens the secret, mixes a contribution of its own into it, and passes it on
    second sight      the member opens the secret, which is now the same for all. From here on the ring's packets are
                      sealed with it. Once the token is passed on, the member wipes its key pair; its next join has a
                      new one
    installation      the secret of the previous ring is wiped

If a member has no key (an earlier version, or secrecy is switched off there), the ring has no secret. A node that
requires one does not enter such a ring. Rings must not alternate between nodes that exclude each other. So every node
applies the strictest requirement of all nodes in its ring, or on their way into it.
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
    """Makes, opens and keeps the secrets of rings."""

    @property
    def is_required(self) -> bool:
        """Whether this node enters no ring without a secret."""

    def public(self) -> bytes:
        """This node's present ephemeral public key."""

    def start(self) -> None:
        """Draw the secret of a ring."""

    def stir(self) -> None:
        """Mix a contribution of this node into the secret. Drop that of a ring that was formed without success."""

    def take(self, ring: RingId, token_seq: int, sender: int, public: bytes, box: bytes) -> bool:
        """Open the box that came with the commit token. Returns whether that succeeded."""

    def give(self, ring: RingId, token_seq: int, target: int, public: bytes) -> bytes:
        """The box with the secret for the next member."""

    def form(self, ring: RingId, members: Sequence[int], publics: Sequence[bytes]) -> None:
        """The secret is complete: seal with it from now on. Without `publics` there is no secret."""

    def forget(self) -> None:
        """The commit token was passed on for the second time: wipe the key pair."""

    def install(self) -> None:
        """The ring that was formed last is installed."""

    def end(self) -> None:
        """This node leaves."""


class Secrecy:
    """What this node knows about the keys of others. Only this module writes it."""

    __slots__ = ("formed", "in_force", "keeper", "publics", "refused", "requiring", "without")

    def __init__(self, keeper: Keeper | None) -> None:
        self.keeper = keeper
        """None: this node has no secrets."""
        self.publics: dict[int, bytes] = {}
        """The public key of each node, from its last join. Cleared when a ring is formed: every node then makes a new
        key pair."""
        self.requiring: set[int] = set()
        """Nodes that enter no ring without a secret."""
        self.refused: set[int] = set()
        """Nodes with which no ring is formed for the time being."""
        self.in_force = False
        """The installed ring has a secret."""
        self.without: set[int] = set()
        """Nodes whose last join had no key."""
        self.formed = False
        """The ring that is being formed has a secret."""


def introduce(s: RingState) -> tuple[bytes, bool]:
    """This node's fields in a join: its public key, and whether it requires a secret."""
    keeper = s.secrecy.keeper
    return (keeper.public(), keeper.is_required) if keeper is not None else (b"", False)


def check_join(s: RingState, join: Join) -> Reason | None:
    """Why the join's sender may not be in a ring with this node; None if it may. Also notes the sender's key."""
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
    """Whether a node in the ring, or on its way into it, requires a secret."""
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
    """This node forms a ring: draw a secret if all members have keys. Returns these keys; () if there is no secret."""
    secrecy, keeper = s.secrecy, s.secrecy.keeper
    if keeper is None:
        return ()
    known = {**secrecy.publics, s.node_id: keeper.public()}
    if not all(node in known for node in members):
        return ()
    keeper.start()
    return tuple(known[node] for node in members)


def take(s: RingState, commit: Commit) -> bool:
    """The commit token has come: open the secret in it. Returns False if that fails: the token is then refused."""
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
    """The commit token is in its first round: mix in this node's contribution."""
    if s.secrecy.keeper is not None:
        s.secrecy.keeper.stir()


def give(s: RingState, commit: Commit) -> None:
    """The commit token leaves: put the secret, sealed for the next member, into it."""
    keeper, target = s.secrecy.keeper, s.membership.token_target
    if keeper is not None and len(commit.publics) > 1:
        public = commit.publics[commit.addrs.index(target)]
        commit.box = keeper.give(commit.ring, commit.token_seq, target, public)


def form(s: RingState, commit: Commit) -> None:
    """The commit token is in its second round: its secret is the ring's."""
    secrecy = s.secrecy
    if secrecy.keeper is not None:
        secrecy.keeper.form(commit.ring, commit.addrs, commit.publics)
        secrecy.formed = bool(commit.publics)


def forget(s: RingState) -> None:
    """The commit token was passed on for the second time: forget the keys that formed the ring."""
    secrecy = s.secrecy
    if secrecy.keeper is not None:
        secrecy.keeper.forget()
        secrecy.publics.clear()


def install(s: RingState) -> None:
    """The ring is installed: wipe the secret of the previous one."""
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
    """Whether the ring announces itself also while it is busy. Others cannot open its packets, so they would not notice
    the ring. If all nodes of the nodelist are members, there is nobody to tell."""
    if not s.secrecy.in_force:
        return False
    nodes = s.options.members
    return nodes is None or len(s.membership.members) < len(nodes)
