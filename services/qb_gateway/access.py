"""Which C programs may connect: those of root's user or group, of the executive's own user, and those in uidgid{}.

Programs may admit more users at run time, by keys `uidgid.uid.N` and `uidgid.gid.N` of value 1 (u8), as Pacemaker does
at its start. Such a key applies from the next connection on.
"""

from __future__ import annotations

import os
import re
from typing import Any

from services.qb_gateway.connection import Peer

_KEY = re.compile(r"uidgid\.(?:config\.)?(uid|gid)\.(\d{1,10})")
_U8 = 2


class Access:
    """The rule, as Corosync has it. Supplementary groups do not count."""

    def __init__(self, uids: tuple[int, ...], gids: tuple[int, ...]) -> None:
        self.change(uids, gids)
        self._named: set[tuple[str, int]] = set()

    def change(self, uids: tuple[int, ...], gids: tuple[int, ...]) -> None:
        """uidgid{} names other users from now on. Existing connections stay."""
        self._uids = frozenset((0, os.geteuid(), *uids))
        self._gids = frozenset((0, *gids))

    def on_key(self, key: str, value: Any) -> None:
        """This key now has this `[type, value]`, or was deleted (None)."""
        matched = _KEY.fullmatch(key)
        if matched is None:
            return
        named = matched[1], int(matched[2])
        if value == [_U8, 1]:
            self._named.add(named)
        else:
            self._named.discard(named)

    def allows(self, peer: Peer) -> bool:
        """True if this process may connect."""
        if peer.uid in self._uids or peer.gid in self._gids:
            return True
        return ("uid", peer.uid) in self._named or ("gid", peer.gid) in self._named
