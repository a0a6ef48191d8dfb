"""How many groups the sessions of one user may be in: the table of groups is everybody's memory, on every node.

A part is kept back for root and the node's own user, so that nobody keeps them out.
"""

from __future__ import annotations

from collections.abc import Iterable

from rondo.protocol.codes import Code
from services.cpg.accounts import ROOT_UID
from services.cpg.sessions import Session

GROUPS_PER_USER_MAX = 16 * 1024
"""Memberships that the sessions of one user may have on this node."""
GROUPS_OF_OTHERS_MAX = 48 * 1024
"""The same for all users together, but for root and the node's own user."""
GROUPS_MAX = 64 * 1024
"""The same for everybody. A membership takes about 500 bytes in cpg, and up to 160 in a snapshot."""


def may_have_another_group(session: Session, sessions: Iterable[Session], owner_uid: int) -> Code:
    """OK if this session may join one more group, else TOO_MANY_GROUPS. Counted is what each session will be in once
    all that it asked for is done."""
    of_user = of_others = of_all = 0
    for each in sessions:
        count = len(each.intended)
        of_all += count
        if each.uid == session.uid:
            of_user += count
        if each.uid not in (ROOT_UID, owner_uid):
            of_others += count
    if of_all >= GROUPS_MAX:
        return Code.TOO_MANY_GROUPS
    if session.uid not in (ROOT_UID, owner_uid) and (
        of_user >= GROUPS_PER_USER_MAX or of_others >= GROUPS_OF_OTHERS_MAX
    ):
        return Code.TOO_MANY_GROUPS
    return Code.OK
