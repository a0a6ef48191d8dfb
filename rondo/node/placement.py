"""The placement of a node's services on CPUs, for the shortest latency (system.low_latency).

A message passes the gateway, cpg and the ring process, and comes back. Each waits for the one before. The scheduler
tends to wake a process on the CPU of its waker. That is right if the waker then sleeps, but the ring process goes on
with packets and the token. So the ring process has a CPU of its own, and the others stay off it. With three nodes on
two CPUs a message took 215 us instead of 275, and after 20 ms of idle time 680 instead of 810.
"""

from __future__ import annotations

import logging
import os

from rondo.config.node import NodeConfig
from rondo.node.logs import notice

NICE = 10
"""More than the others: a tenth of their weight (sched(7))."""


def ring_cpus(config: NodeConfig, allowed: frozenset[int]) -> tuple[int, ...]:
    """The CPUs of the ring process, among the allowed ones: those of system.cpu_affinity, or the last one for low
    latency. Empty: any."""
    if config.cpu_affinity or not config.low_latency or len(allowed) < 2:
        return config.cpu_affinity
    return (max(allowed),)


def other_cpus(config: NodeConfig, allowed: frozenset[int]) -> tuple[int, ...]:
    """The CPUs of cpg and the gateway; empty: any."""
    if not config.low_latency:
        return ()
    return tuple(sorted(allowed.difference(ring_cpus(config, allowed))))


def allowed_cpus() -> frozenset[int]:
    """The CPUs that this process may use."""
    return frozenset(os.sched_getaffinity(0))


def come_after_the_ring() -> None:
    """Give this process, and the threads that it starts from now on, the processor that the others of the node leave.

    For what nobody waits for, a page for instance, which strangers can keep busy.
    """
    os.nice(NICE)


def stay_off_the_ring(config: NodeConfig, log: logging.Logger) -> None:
    """Keep this process (cpg or the gateway) off the ring process's CPU, if that is configured."""
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
