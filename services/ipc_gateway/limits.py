"""What a crowd of clients costs this process: descriptors, two for each (its connection and its pidfd)."""

import logging
import resource

from services.ipc_gateway.table import SESSIONS_MAX

DESCRIPTORS_PER_SESSION = 2
DESCRIPTORS_BESIDES = 256
DESCRIPTORS_WANTED = SESSIONS_MAX * DESCRIPTORS_PER_SESSION + DESCRIPTORS_BESIDES

log = logging.getLogger("IPC_GATEWAY")


def raise_descriptor_limit() -> None:
    """As far as the system lets us. The usual limit, 1024, is one for programs that use select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(DESCRIPTORS_WANTED, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < DESCRIPTORS_WANTED:
        log.info("%d clients at most: the limit of open files is %d", (wanted - DESCRIPTORS_BESIDES) // 2, wanted)
