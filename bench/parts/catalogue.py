"""The parts by name, with what their tables are headed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.parts import latency, throughput
from bench.plan import Plan
from bench.statistics import Series


@dataclass(frozen=True)
class Part:
    """`rows` are the labels that tell the rows of its table apart; the columns are the systems."""

    title: str
    run: Callable[[Plan], list[Series]]
    rows: tuple[str, ...]


PARTS = {
    "throughput": Part("Throughput: one sender", throughput.one_sender, ("size",)),
    "latency": Part("Latency: send one, wait for it, again", latency.latency, ("gap_ms", "quantity")),
    "senders": Part("Throughput: all nodes send", throughput.all_senders, ("size",)),
    "members": Part("Throughput: one sender, a receiver on every node", throughput.one_sender_all_members, ("size",)),
    "members-all": Part(
        "Throughput: all nodes send, all receive everything", throughput.all_senders_all_members, ("size",)
    ),
}
QUICK_PARTS = ("throughput", "latency")
