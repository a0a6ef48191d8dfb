"""How many groups the sessions of one user may be in: the table of groups is everybody's memory, on every node.

A part is kept back for root and the node's own user, so that nobody keeps them out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rondo.protocol.codes import Code
from services.cpg.accounts import Account

GROUPS_PER_USER_MAX: Final = 16 * 1024
"""Memberships that the sessions of one user may have on this node."""
GROUPS_OF_OTHERS_MAX: Final = 48 * 1024
"""The same for all users together, but for root and the node's own user."""
GROUPS_MAX: Final = 64 * 1024
"""The same for everybody. A membership takes about 500 bytes in cpg, and up to 160 in a snapshot."""


def may_have_another_group(account: Account, accounts: Iterable[Account]) -> Code:
    """OK if a session of this user may join one more group, else TOO_MANY_GROUPS. `accounts`: of all users."""
    of_all = of_others = 0
    for each in accounts:
        of_all += each.groups
        if each.is_bound:
            of_others += each.groups
    if of_all >= GROUPS_MAX:
        return Code.TOO_MANY_GROUPS
    if account.is_bound and (account.groups >= GROUPS_PER_USER_MAX or of_others >= GROUPS_OF_OTHERS_MAX):
        return Code.TOO_MANY_GROUPS
    return Code.OK
