"""The descriptors that many C programs cost this process: for each one for the stream, one for each file of the rings,
and one for the directory."""

from __future__ import annotations

import logging
import resource

from services.qb_gateway.listeners import CONNECTIONS_MAX

DESCRIPTORS_PER_CONNECTION = 8
DESCRIPTORS_BESIDES = 256
DESCRIPTORS_WANTED = CONNECTIONS_MAX * DESCRIPTORS_PER_CONNECTION + DESCRIPTORS_BESIDES

log = logging.getLogger("QB_GATEWAY")


def raise_descriptor_limit() -> None:
    """Raise the limit of open files as far as the system permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(DESCRIPTORS_WANTED, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < DESCRIPTORS_WANTED:
        most = (wanted - DESCRIPTORS_BESIDES) // DESCRIPTORS_PER_CONNECTION
        log.info("%d C programs at most: the limit of open files is %d", most, wanted)
