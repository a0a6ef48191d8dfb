"""Checks that the kernel reports the clock as synchronised, and compares it with the clocks of other nodes.

The ring does not need equal clocks. The comparison of logs and the validity of certificates do.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

from rondo.doctor import ping
from rondo.doctor.finding import Finding, ok, warn
from rondo.doctor.subject import Subject

DIFFERENCE_MS_MAX = 1000
_NODES_MAX = 32

_TIMEX_BYTES = 208
"""The size of struct timex (adjtimex(2)). If the struct is all zero the call only reads."""
TIME_ERROR = 5
"""The clock is not synchronised."""


def clock(subject: Subject) -> Iterator[Finding]:
    """Compare the clock with the kernel's state, and with other nodes that answer."""
    nodes = {
        ip: node for node, links in subject.others.items() for text in links.values() if (ip := subject.ip_of(text))
    }
    differences = ping.clock_differences_ms(list(nodes)[:_NODES_MAX])
    wrong = {ip: ms for ip, ms in differences.items() if abs(ms) > DIFFERENCE_MS_MAX}
    for ip, ms in wrong.items():
        what = f"the clock of node {nodes[ip]} is {abs(ms) / 1000:.1f} s {'ahead of' if ms > 0 else 'behind'} this one"
        yield warn("clock", what, str(ip), "run an NTP client (chrony) on all nodes; logs cannot be compared so")
    if not wrong:
        told = f", and agrees with {len(differences)} other nodes" if differences else ""
        sure = "is kept by NTP" if state() != TIME_ERROR else "is not known to be kept by NTP"
        yield ok("clock", f"the clock {sure}{told}")


def state() -> int:
    """The kernel's state of its clock (adjtimex(2)); negative: unknown."""
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
