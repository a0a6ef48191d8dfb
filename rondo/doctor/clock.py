"""The clock: whether the kernel believes it, and what time it is on the other nodes.

The ring does not need equal clocks. People who lay logs of several nodes side by side do, and so do certificates.
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
"""struct timex (adjtimex(2)); all zero it only asks."""
TIME_ERROR = 5
"""The clock is not synchronised."""


def clock(subject: Subject) -> Iterator[Finding]:
    """Against the kernel's word, and against other nodes as far as they tell the time."""
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
    """What the kernel says of its clock (adjtimex(2)); negative: nothing."""
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
