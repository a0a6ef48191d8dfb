"""What a crowd of clients costs this process: descriptors, one for each connection and one to watch the process of each
session; memory for what it has not read, and for half of what it has said.
"""

import logging
import os
import resource

from rondo.ipc.bounds import Bounds
from services.ipc_gateway.session_registry import SESSIONS_MAX

DESCRIPTORS_PER_SESSION = 2
CONNECTIONS_BESIDES = 2048
"""Connections that have no session: what asks SAM or control, or has just come."""
DESCRIPTORS_BESIDES = 256
DESCRIPTORS_WANTED = SESSIONS_MAX * DESCRIPTORS_PER_SESSION + CONNECTIONS_BESIDES + DESCRIPTORS_BESIDES

CONNECTIONS_KEPT_MAX = 256
"""For root and the node's own user."""
CONNECTIONS_PER_USER_MAX = 1536
SILENT_PER_USER_MAX = 256
MIB = 1024 * 1024
READ_BYTES_PER_USER_MAX, READ_BYTES_OF_OTHERS_MAX = 32 * MIB, 64 * MIB
UNREAD_BYTES_PER_CONNECTION_MAX = MIB
UNREAD_BYTES_PER_USER_MAX, UNREAD_BYTES_OF_OTHERS_MAX = 32 * MIB, 48 * MIB

log = logging.getLogger("IPC_GATEWAY")


def raise_descriptor_limit(besides: int = 0) -> tuple[int, int]:
    """As far as the system lets us; returns how many sessions and connections there is room for then. `besides`: what
    others than local clients need.

    The usual limit, 1024, is one for programs that use select(2). Without a bound of its own a crowd would take the
    last descriptors, and who comes then would see a node that does not answer.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = DESCRIPTORS_WANTED + besides
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted >= needed:
        return SESSIONS_MAX, SESSIONS_MAX + CONNECTIONS_BESIDES
    room = max(wanted - besides - DESCRIPTORS_BESIDES, wanted // 2)
    sessions = min(SESSIONS_MAX, room * 4 // 9)
    log.info("%d sessions at most: the limit of open files is %d; raise it (ulimit -n, LimitNOFILE=)", sessions, wanted)
    return sessions, room - sessions


def bounds_of(connections_max: int) -> Bounds:
    """What the users of this machine may take, where so many connections fit."""
    kept = min(CONNECTIONS_KEPT_MAX, connections_max // 8)
    return Bounds(
        connections_max=connections_max,
        connections_kept=kept,
        connections_per_user_max=min(CONNECTIONS_PER_USER_MAX, (connections_max - kept) * 3 // 4),
        silent_per_user_max=SILENT_PER_USER_MAX,
        read_bytes_per_user_max=READ_BYTES_PER_USER_MAX,
        read_bytes_of_others_max=READ_BYTES_OF_OTHERS_MAX,
        unread_bytes_per_connection_max=UNREAD_BYTES_PER_CONNECTION_MAX,
        unread_bytes_per_user_max=UNREAD_BYTES_PER_USER_MAX,
        unread_bytes_of_others_max=UNREAD_BYTES_OF_OTHERS_MAX,
        favoured=frozenset((0, os.geteuid())),
    )
