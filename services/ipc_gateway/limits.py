"""What many clients cost this process: a descriptor for each connection and one to watch each session's process, and
memory for envelopes that are unread or half-received."""

import logging
import os
import resource

from rondo.ipc.bounds import Bounds
from services.ipc_gateway.session_registry import SESSIONS_MAX

DESCRIPTORS_PER_SESSION = 2
CONNECTIONS_BESIDES = 2048
"""Connections without a session: those that ask SAM or control, or have just been made."""
DESCRIPTORS_BESIDES = 256
DESCRIPTORS_WANTED = SESSIONS_MAX * DESCRIPTORS_PER_SESSION + CONNECTIONS_BESIDES + DESCRIPTORS_BESIDES

CONNECTIONS_KEPT_MAX = 256
"""Connections reserved for root and the node's own user."""
CONNECTIONS_PER_USER_MAX = 1536
SILENT_PER_USER_MAX = 256
MIB = 1024 * 1024
READ_BYTES_PER_USER_MAX, READ_BYTES_OF_OTHERS_MAX = 32 * MIB, 64 * MIB
UNREAD_BYTES_PER_CONNECTION_MAX = MIB
UNREAD_BYTES_PER_USER_MAX, UNREAD_BYTES_OF_OTHERS_MAX = 32 * MIB, 48 * MIB

log = logging.getLogger("IPC_GATEWAY")


def raise_descriptor_limit(besides: int = 0) -> tuple[int, int]:
    """Raise the limit of open files as far as the system permits. Returns how many sessions and connections then have
    room. `besides`: descriptors for other purposes than local clients.

    The usual limit, 1024, is one for programs that use select(2). Without a bound of its own, many clients would take
    the last descriptors, and the next one would see a node that does not answer.
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
    """What local users may take if there is room for this many connections."""
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
