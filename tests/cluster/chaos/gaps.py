"""The longest times without a delivery that applications saw, and what had been killed then."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from tests.checker.base import Event

BEFORE_S = 0.5
"""A gap may begin this much after the kill that causes it, because messages in flight still arrive."""


@dataclass(frozen=True)
class Gap:
    """A time without a delivery at one connection. `kills`: (service, seconds after its beginning)."""

    seconds: float
    proc: str
    kills: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        kills = ", ".join(f"{service} killed at {after_s:+.2f} s" for service, after_s in self.kills)
        return f"{self.seconds:.2f} s at {self.proc}" + (f" ({kills})" if kills else "")


def longest(events: Iterable[Event], kills: Iterable[Event], count: int) -> list[Gap]:
    """The longest gap of each life, the longest `count` of these. Events are in the order of their time."""
    last: dict[str, float] = {}
    worst: defaultdict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for event in events:
        if event["ev"] == "gdeliver":
            proc, t = event["proc"], float(event["t"])
            began_s = last.get(proc, t)
            worst[proc] = max(worst[proc], (t - began_s, began_s))
            last[proc] = t
    told = [(str(kill["service"]), float(kill["t"])) for kill in kills]
    gaps = [
        Gap(
            seconds, proc,
            tuple((name, t - began_s) for name, t in told if -BEFORE_S <= t - began_s <= seconds),
        )
        for proc, (seconds, began_s) in worst.items()
    ]  # fmt: skip
    return sorted(gaps, key=lambda gap: -gap.seconds)[:count]
