"""Gives the trace of a run to the checker, with the limits that follow from its nodes' options."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.checker import Limits, check

if TYPE_CHECKING:
    from services.totem.ring.options import RingOptions
    from tests.checker import Violation
    from tests.simulation.world import World


def judge(world: World) -> list[Violation]:
    """The checker's verdict on what has happened in this world so far."""
    hosts = list(world.hosts.values())
    options = [host.options for host in hosts]
    windows = {(each.window_size, each.max_messages) for each in options}
    limits = _limits(options[0], same_windows=len(windows) == 1)
    if all(each.wide_windows for each in options):
        # No more packets may be under way than fit a receive buffer. The kernel counts each packet there twice.
        room = max(host.receive_bytes for host in hosts) // (2 * min(each.netmtu for each in options))
        widest = max(room, limits.window_size)
        limits = replace(limits, window_size=widest, max_messages=max(room, limits.max_messages))
    classic = frozenset(host.node for host in hosts if host.options.like_corosync)
    return check(world.trace.events, limits=replace(limits, classic_nodes=classic))


def _limits(options: RingOptions, *, same_windows: bool) -> Limits:
    return Limits(
        token_timeout_s=options.token_timeout_ms / 1000,
        consensus_timeout_s=options.consensus_timeout_ms / 1000,
        window_size=options.window_size,
        max_messages=options.max_messages,
        send_queue_packets=options.send_queue_packets,
        initial_sequence=options.initial_sequence,
        same_windows=same_windows,
    )
