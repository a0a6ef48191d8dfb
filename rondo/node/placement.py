"""Which CPUs the services of a node run on, when it is to answer as fast as it can (system.low_latency).

A message goes through the gateway, cpg and the ring process, and back, each of which waits for the one before. The
scheduler likes to wake each where the one before runs, which is right if that sleeps then; but the ring process goes
on, with packets and the token. So it has a CPU of its own, and the others stay off it: with three nodes on two CPUs a
message took 215 us instead of 275, and after 20 ms of nothing 680 instead of 810.
"""

from __future__ import annotations

import logging
import os

from rondo.config.node import NodeConfig
from rondo.node.logs import notice

NICE = 10
"""More than the others: a tenth of their weight (sched(7))."""


def ring_cpus(config: NodeConfig, allowed: frozenset[int]) -> tuple[int, ...]:
    """The CPUs of the ring process, of those that a process of this node may use: as system.cpu_affinity says, or the
    last one for low latency; empty: any."""
    if config.cpu_affinity or not config.low_latency or len(allowed) < 2:
        return config.cpu_affinity
    return (max(allowed),)


def other_cpus(config: NodeConfig, allowed: frozenset[int]) -> tuple[int, ...]:
    """The CPUs of cpg and the gateway; empty: any."""
    if not config.low_latency:
        return ()
    return tuple(sorted(allowed.difference(ring_cpus(config, allowed))))


def allowed_cpus() -> frozenset[int]:
    """What this process may run on."""
    return frozenset(os.sched_getaffinity(0))


def come_after_the_ring() -> None:
    """Give this process, and the threads that it starts from now on, the processor that the others of the node leave.

    For what nobody waits for, a page for instance, which strangers can keep busy.
    """
    os.nice(NICE)


def stay_off_the_ring(config: NodeConfig, log: logging.Logger) -> None:
    """Keep this process, cpg or the gateway, off the ring process's CPU if that is wanted."""
    cpus = other_cpus(config, allowed_cpus())
    if not cpus:
        return
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        notice(
            log,
            "The system does not let this process stay off the ring process's CPU (%s); it runs without. "
            "system.low_latency: no, mends that.", error.strerror,
        )  # fmt: skip
