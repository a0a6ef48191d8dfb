"""Bounds of memory, and timers: D9, D10."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.checker.base import Event, Limits, Violation, register, violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checker.trace import Trace

ON_A_RING = frozenset(
    ("token", "token_retransmit", "token_warning", "token_hold", "merge", "sync", "standstill", "pause")
)

TIMERS = {
    "gather": frozenset(("join", "send_join", "consensus", "token", "pause")),
    "commit": frozenset(("token", "token_retransmit", "standstill", "pause")),
    "recovery": ON_A_RING,
    "operational": ON_A_RING,
}
"""Timers that each state uses. Gather: joins are repeated, consensus is awaited, and after it, with the token timer, a
commit token (section 11). Commit: "start token-loss and retransmit timers". Recovery and Operational handle tokens by
the rules of section 12, with all timers these name. The pause of the process is watched in every state."""


@register("D9")
def buffers_bounded(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """D9: the sort and retransmission queues hold at most the slots of the sort queue, each send queue its packets.

    Messages under assembly: per node at most one of the largest in each of the two assembly sets (section 5).
    """
    bounds = {
        "regular": limits.sort_queue_slots,
        "recovery": limits.sort_queue_slots,
        "retrans": limits.sort_queue_slots,
        "new": limits.send_queue_packets,
        "trans": limits.send_queue_packets,
    }
    assembly = 2 * limits.message_size_max
    for event in trace.buffers:
        for buffer, bound in bounds.items():
            if event[buffer] > bound:
                yield violation("D9", f"buffer {buffer} holds {event[buffer]}, its bound is {bound}", event)
        if event["assembly_bytes"] > assembly and event["assembly_bytes"] > assembly * len(trace.all_members()):
            yield violation("D9", f"{event['assembly_bytes']} bytes under assembly", event)


@register("D10")
def timers_of_the_state(trace: Trace, limits: Limits) -> Iterator[Violation]:
    """D10: at most one timer of each kind is armed, and none that the state does not use (see TIMERS)."""
    states: dict[tuple[int, int], Event] = {}
    for event in trace.timers:
        key = (event["node"], event["inc"])
        if event["ev"] == "state":
            states[key] = event
            continue
        state = states.get(key)
        armed = event["armed"]
        if len(set(armed)) != len(armed):
            yield violation("D10", "a timer is armed twice", event)
        stray = set(armed) - TIMERS.get(state["state"], ON_A_RING) if state else set()
        if state and stray:
            yield violation("D10", f"{', '.join(sorted(stray))} armed in {state['state']}", state, event)
