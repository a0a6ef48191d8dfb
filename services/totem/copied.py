"""Detects that this process may be a copy: its machine was restored from a snapshot, or the process from an image.

The original and the copy have the same boot identifier and the same counter, so both would seal packets with the same
nonces (services/totem/security/suites.py). So this process takes a new boot identifier as soon as there is a sign of a
copy:

* The hypervisor has given the machine another generation, and the kernel reports it (NEW_VMGENID of the driver vmgenid,
  kernel 6.10 and later).
* The time of day has moved by a second or more against the time since the start: a snapshot stood still while time went
  on. (Setting the clock looks the same; that costs a few milliseconds.)

Packets may still leave between the copy and the first sign: docs/SECURITY.md, "Copied memory".
"""

from __future__ import annotations

import socket
from typing import Final

STEP_NS: Final = 1_000_000_000
"""Slewing moves a clock by far less between two checks."""

_NETLINK_KOBJECT_UEVENT: Final = 15
_KERNEL_EVENTS: Final = 1
_NEW_GENERATION: Final = b"NEW_VMGENID=1"
_EVENT_BYTES: Final = 1 << 16
_EVENTS_MAX: Final = 64


class CopyWatch:
    """Looks for these signs. Times are those of CLOCK_REALTIME and of CLOCK_MONOTONIC, in nanoseconds."""

    def __init__(self, wall_ns: int, now_ns: int) -> None:
        self._offset_ns = wall_ns - now_ns
        self._events: socket.socket | None = None
        try:
            self._events = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, _NETLINK_KOBJECT_UEVENT
            )
            self._events.bind((0, _KERNEL_EVENTS))
        except OSError:
            self.close()  # a sandbox without it: the clock must do

    def fileno(self) -> int:
        """The descriptor to poll; -1 if there is none."""
        return -1 if self._events is None else self._events.fileno()

    def was_copied(self, wall_ns: int, now_ns: int, *, told: bool) -> bool:
        """Whether there was a sign since the last call. `told`: `fileno` is readable."""
        offset_ns, self._offset_ns = self._offset_ns, wall_ns - now_ns
        return abs(self._offset_ns - offset_ns) >= STEP_NS or (told and self._new_generation())

    def _new_generation(self) -> bool:
        found = False
        for _ in range(_EVENTS_MAX):
            try:
                assert self._events is not None
                found = _NEW_GENERATION in self._events.recv(_EVENT_BYTES).split(b"\0") or found
            except BlockingIOError:
                break
            except OSError:
                return True  # ENOBUFS: events were lost, and this one may have been among them
        return found

    def close(self) -> None:
        """Close the socket."""
        if self._events is not None:
            self._events.close()
            self._events = None
