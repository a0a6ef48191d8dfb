"""Turns events of the ring into log lines, in the words that Corosync's users know and their tools look for.

Each kind of line is rate-limited, whatever happens on the network. A line after suppressed ones gives their number.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from rondo.node.log_formats import NOTICE
from services.totem.ring.events import (
    GatherReason,
    Notice,
    NoticeCode,
    RegularConfiguration,
    SyncComplete,
    TransitionalConfiguration,
)

BURST = 10
"""Lines of one kind that may come at once; after these, one per `INTERVAL_NS`."""
INTERVAL_NS = 1_000_000_000
"""The interval between further lines of one kind."""

_FREQUENT: set[object] = {NoticeCode.RETRANSMIT, NoticeCode.TOKEN_LATE}
"""Kinds that a bad network causes by the hundred: they get no burst."""
RETRANSMIT_SHOWN_MAX = 30

_totem = logging.getLogger("TOTEM")
_main = logging.getLogger("MAIN")

Told = RegularConfiguration | TransitionalConfiguration | SyncComplete | Notice


class LineBudget:
    """Lets `burst` lines through at once, then one per interval. Counts the lines that it suppressed."""

    def __init__(self, burst: int, interval_ns: int) -> None:
        self._burst = burst
        self._interval_ns = interval_ns
        self._full_ns = -(1 << 62)
        """When the whole burst is available again."""
        self._left_out = 0

    def take(self, now_ns: int) -> int | None:
        """None: suppress this line. Otherwise the number of lines suppressed before it."""
        full_ns = max(self._full_ns, now_ns) + self._interval_ns
        if full_ns - now_ns > self._burst * self._interval_ns:
            self._left_out += 1
            return None
        self._full_ns = full_ns
        left_out, self._left_out = self._left_out, 0
        return left_out


class LogText:
    """Writes events to the log."""

    def __init__(self) -> None:
        self._budgets: dict[object, LineBudget] = {}
        self._first = True

    def tell(self, event: Told, now_ns: int) -> None:
        """Log the event, unless the level is off or too many lines of its kind came."""
        if self._first and isinstance(event, RegularConfiguration):
            # In Corosync's log all members of a node's first ring have joined, the node itself too.
            self._first = False
            event = event._replace(joined=event.members)
        kind, logger, level, text = _line(event)
        if not logger.isEnabledFor(level):
            return
        budget = self._budgets.get(kind)
        if budget is None:
            budget = self._budgets[kind] = LineBudget(1 if kind in _FREQUENT else BURST, INTERVAL_NS)
        left_out = budget.take(now_ns)
        if left_out is not None:
            logger.log(level, "%s", f"{text()} ({left_out} such lines were left out)" if left_out else text())


def _line(event: Told) -> tuple[object, logging.Logger, int, Callable[[], str]]:
    """Kind, logger, level and text of the line for an event."""
    if isinstance(event, Notice):
        level, text = _TEXTS[event.code]
        return event.code, _totem, level, lambda: text if isinstance(text, str) else text(*event.detail)
    if isinstance(event, RegularConfiguration):
        return RegularConfiguration, _totem, NOTICE, lambda: membership(event)
    if isinstance(event, SyncComplete):
        return SyncComplete, _main, NOTICE, lambda: "Completed service synchronization, ready to provide service."
    return (
        TransitionalConfiguration,
        _totem,
        logging.DEBUG,
        lambda: f"Of ring {event.old_ring}, nodes {_nodes(event.members)} move on together.",
    )


def membership(event: RegularConfiguration) -> str:
    """`A new membership (1.8) was formed. Members joined: 2 3 left: 4`"""
    text = f"A new membership ({event.ring}) was formed. Members"
    if event.joined:
        text += f" joined: {_nodes(event.joined)}"
    if event.left:
        text += f" left: {_nodes(event.left)}"
    return text


def _nodes(nodes: Any) -> str:
    return " ".join(map(str, nodes))


def _gather(state: Any, reason: Any) -> str:
    return f"entering GATHER state from {int(reason)}({GatherReason(reason).name.lower().replace('_', ' ')})."


def _retransmit(sequences: Any) -> str:
    shown = " ".join(f"{each & 0xFFFF_FFFF:x}" for each in list(sequences)[:RETRANSMIT_SHOWN_MAX])
    return f"Retransmit List: {shown}"


def _secrecy_differs(node: Any, asked_here: Any) -> str:
    if asked_here:
        return (
            f"No ring is formed with node {node}: it has no forward secrecy (an earlier version, or forward_secrecy: "
            "no), and totem.forward_secrecy: yes, here or at another member, asks for it."
        )
    return f"No ring is formed with node {node}: it asks for forward secrecy, which is switched off here."


_TEXTS: dict[NoticeCode, tuple[int, str | Callable[..., str]]] = {
    NoticeCode.GATHER: (logging.DEBUG, _gather),
    NoticeCode.COMMIT: (logging.DEBUG, lambda ring, members: f"entering COMMIT state, ring {ring}: {_nodes(members)}"),
    NoticeCode.RECOVERY: (logging.DEBUG, lambda ring, old: f"entering RECOVERY state, ring {ring}: {_nodes(old)}"),
    NoticeCode.PROCESSOR_FAILED: (NOTICE, "A processor failed, forming new configuration."),
    NoticeCode.CONSENSUS_FAILED: (NOTICE, lambda nodes: f"No agreement with nodes {_nodes(nodes)}, they are out."),
    NoticeCode.FAILED_WITHOUT_LEAVE: (
        NOTICE, lambda nodes: f"Failed to receive the leave message. failed: {_nodes(nodes)}",
    ),
    NoticeCode.TOKEN_LATE: (logging.INFO, lambda ms: f"Token has not been received in {ms} ms"),
    NoticeCode.PAUSED: (
        logging.WARNING, lambda ms: f"Process pause detected for {ms} ms, flushing membership messages.",
    ),
    NoticeCode.RETRANSMIT: (NOTICE, _retransmit),
    NoticeCode.FAILED_TO_RECEIVE: (logging.ERROR, "FAILED TO RECEIVE"),
    NoticeCode.CANNOT_FORM: (
        logging.WARNING,
        "Totem is unable to form a cluster because of an operating system or network fault. The most common cause of "
        "this message is that the local firewall is configured improperly.",
    ),
    NoticeCode.SECRECY_DIFFERS: (logging.WARNING, _secrecy_differs),
    NoticeCode.LEAVE_RECEIVED: (logging.INFO, lambda node: f"Node {node} leaves."),
}  # fmt: skip
