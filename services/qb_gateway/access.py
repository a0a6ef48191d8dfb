"""Which C programs may connect: those of root's user or group, of the executive's own user, and what uidgid{} names."""

from __future__ import annotations

import os

from services.qb_gateway.connection import Peer


class Access:
    """The rule, as Corosync has it. Supplementary groups do not count."""

    def __init__(self, uids: tuple[int, ...], gids: tuple[int, ...]) -> None:
        self._uids = frozenset((0, os.geteuid(), *uids))
        self._gids = frozenset((0, *gids))

    def allows(self, peer: Peer) -> bool:
        """Whether this process may."""
        return peer.uid in self._uids or peer.gid in self._gids
