"""Judges what the members of process groups saw: properties B1 to B10, and A and C as an application can see them.

    from tests.checker.groups import check

    for violation in check(events):
        print(violation)

It knows nothing of the code: it reads what applications wrote down, one JSON object for each event, with `t` (seconds
on one clock), `ev` and, but for those of the harness, `proc` (one connection of one process, a *life*), `node`, `pid`
and `group`:

| event | fields |
|---|---|
| gstart, gover | the life begins; its connection is over for good |
| gjoin, gleave | asked for, before it is asked for |
| gout | it has left the group, and has taken all events of it |
| gsend | msg, size, crc, level (safe, agreed): written before it is sent; `word`: "last" for the last one |
| grefuse | msg: it was refused, and has no effect |
| gaccept, gordered | msgs |
| gunknown | msgs: the client says that their outcome is unknown; `count`: how many numbers it named |
| gfail | msg: its request failed because its outcome is unknown or the connection is over |
| gconf | members [[node, pid]...], joined, left [[node, pid, reason]...] |
| gdeliver | msg, size (-1: not whole), crc, sender [node, pid], trans |
| gring | ring [representative, sequence], members [node...] |
| gdown, gup | the client says Disconnected, Reconnected |
| gsuspend, gresume | the client says Suspended, Resumed |
| fail | harness: application `name` (the part of proc before #) was killed; node |
| ringkill | harness: node's ring process was killed |
| freeze, thaw | harness: everything on node is stopped, goes on |
| stable | harness: no fault any more, all nodes are in one ring |
| end | harness: nothing after it is judged |

A *span* is what one life sees of one group from its own join to the end of that membership; a *segment* is the part of
a span in one ring. The event gring stands at the end of the sync of its ring, after the memberships that follow from
it.
"""

from tests.checker.groups.base import GROUP_PROPERTIES
from tests.checker.groups.judge import check

__all__ = ["GROUP_PROPERTIES", "check"]
