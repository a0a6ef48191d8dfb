"""Rates of two looks at a node, as the page has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TOTEM = ("messages_rx", "messages_tx", "mcast_rx", "mcast_tx", "mcast_retx", "rx_msg_dropped")
"""Counters of totem that are worth a rate."""
_STEPS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True, slots=True)
class Rates:
    """Each a second; what is not known yet is not in it."""

    totem: Mapping[str, float] = field(default_factory=dict)
    messages: Mapping[str, float] = field(default_factory=dict)
    """By group."""
    message_bytes: Mapping[str, float] = field(default_factory=dict)
    """By group."""


def rates_of(found: dict[str, Any], before: dict[str, Any], seconds: float) -> Rates:
    """Of two statuses (`rondo status --json`), the earlier one of so many seconds before."""
    if seconds <= 0:
        return Rates()
    now, then = (each["counters"].get("totem", {}) for each in (found, before))
    totem = {name: now[name] for name in TOTEM if name in now}
    return Rates(
        _grown(totem, then, seconds),
        *(_grown(_by_group(found, name), _by_group(before, name), seconds) for name in ("messages", "message_bytes")),
    )


def _by_group(found: dict[str, Any], name: str) -> dict[str, int]:
    """A process of an older version counts nothing by group."""
    return {each["group"]: each[name] for each in found["groups"] if name in each}


def _grown(now: dict[str, int], then: dict[str, int], seconds: float) -> dict[str, float]:
    """A counter that has become smaller belongs to a process that was started again."""
    return {name: max(0, value - then[name]) / seconds for name, value in now.items() if name in then}


def short(value: float | None) -> str:
    """A rate in at most six characters."""
    if value is None:
        return "-"
    for step, letter in _STEPS:
        if value >= step:
            return f"{value / step:.1f}{letter}"
    return f"{value:.1f}" if 0 < value < 10 else f"{value:.0f}"
