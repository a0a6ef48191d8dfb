"""The parts by name, with what their tables are headed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.lab.systems import DEFAULT_SYSTEMS
from bench.parts import form, growth, idle, latency, loss, throughput
from bench.plan import Plan
from bench.statistics import Series


@dataclass(frozen=True)
class Part:
    """`rows` are the labels that tell the rows of its table apart; the columns are the systems."""

    title: str
    run: Callable[[Plan], list[Series]]
    rows: tuple[str, ...]
    systems: tuple[str, ...] = DEFAULT_SYSTEMS
    """Those that are measured where none are named."""


PARTS = {
    "throughput": Part("Throughput: one sender", throughput.one_sender, ("size",)),
    "latency": Part(
        "Latency: send one, wait for it, again",
        latency.latency,
        ("gap_ms", "quantity"),
        (*DEFAULT_SYSTEMS, "rondo+tuned"),
    ),
    "senders": Part("Throughput: all nodes send", throughput.all_senders, ("size",)),
    "members": Part("Throughput: one sender, a receiver on every node", throughput.one_sender_all_members, ("size",)),
    "members-all": Part(
        "Throughput: all nodes send, all receive everything", throughput.all_senders_all_members, ("size",)
    ),
    "loss": Part("Random loss on every link: one sender, 1 KiB", loss.loss, ("loss_percent",)),
    "loss-link": Part(
        "Random loss on the first of two links: one sender, 1 KiB",
        loss.loss_on_one_link,
        ("loss_percent",),
        ("rondo-knet+links", "corosync-knet+links"),
    ),
    "growth": Part("How the cost grows with the ring", growth.growth, ("quantity", "gap_ms", "nodes")),
    "idle": Part("A node that has nothing to do", idle.idle, ("quantity", "process")),
    "form": Part("A ring of 16 nodes forms", form.form, ("nodes",)),
}
QUICK_PARTS = ("throughput", "latency")
