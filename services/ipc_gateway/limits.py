"""What a crowd of clients costs this process: descriptors, two for each (its connection and its pidfd)."""

import logging
import resource

from services.ipc_gateway.table import SESSIONS_MAX

DESCRIPTORS_PER_SESSION = 2
DESCRIPTORS_BESIDES = 256
DESCRIPTORS_WANTED = SESSIONS_MAX * DESCRIPTORS_PER_SESSION + DESCRIPTORS_BESIDES

log = logging.getLogger("IPC_GATEWAY")


def raise_descriptor_limit() -> int:
    """As far as the system lets us; returns how many sessions there is room for then.

    The usual limit, 1024, is one for programs that use select(2). Without a bound of its own a crowd would take the
    last descriptors, and who comes then would see a node that does not answer.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(DESCRIPTORS_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted >= DESCRIPTORS_WANTED:
        return SESSIONS_MAX
    room = max((wanted - DESCRIPTORS_BESIDES) // DESCRIPTORS_PER_SESSION, wanted // 4)
    log.info("%d sessions at most: the limit of open files is %d; raise it (ulimit -n, LimitNOFILE=)", room, wanted)
    return room
