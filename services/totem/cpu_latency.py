"""Keeps the processors of this machine from sleeping while messages flow (system.low_latency).

A processor with nothing to do sleeps, and to wake it takes time: some microseconds where it is a real one, fifty and
more where it is virtual, for then it has to be scheduled by its host. A message passes through a handful of processes,
each of which waits for the one before, so it pays for that several times. Whoever holds /dev/cpu_dma_latency open with
a 0 in it has idle processors poll instead (the kernel's Documentation/power/pm_qos_interface). That costs power, and of
a virtual machine what its host could have done meanwhile; so it is asked for in the configuration, and held only
from the first message to a while after the last.
"""

from __future__ import annotations

import logging
import os
import struct

from rondo.node.logs import notice

DEVICE = "/dev/cpu_dma_latency"
AFTER_NS = 1_000_000_000
"""So long after the last message the processors may sleep again."""

NEVER_NS = 1 << 62
_log = logging.getLogger("TOTEM")


class CpuLatencyLock:
    """Holds the device open for one process. It does nothing unless it is wanted."""

    def __init__(self, *, wanted: bool, device: str = DEVICE) -> None:
        self._wanted = wanted
        self._device = device
        self._position = 0
        self._held: int | None = None
        self.due_ns = NEVER_NS
        """When `note` wants to be called even if nothing happens."""

    @property
    def is_held(self) -> bool:
        """Whether the processors are kept awake now."""
        return self._held is not None

    def note(self, position: int, now_ns: int) -> None:
        """`position`: how far the log of messages is. Opens or closes the device if that is due."""
        if not self._wanted:
            return
        if position != self._position:
            self._position = position
            self.due_ns = now_ns + AFTER_NS
            if self._held is None:
                self._hold()
        elif now_ns >= self.due_ns:
            self.close()

    def close(self) -> None:
        """Let the processors sleep."""
        self.due_ns = NEVER_NS
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _hold(self) -> None:
        device = -1
        try:
            device = os.open(self._device, os.O_WRONLY | os.O_CLOEXEC)
            os.write(device, struct.pack("@i", 0))
        except OSError as error:
            if device >= 0:
                os.close(device)
            self._wanted = False
            self.due_ns = NEVER_NS
            notice(
                _log,
                "The system does not let this process keep the processors awake (%s: %s); it runs without. Root, or "
                "system.low_latency: no, mends that.", self._device, error.strerror,
            )  # fmt: skip
            return
        self._held = device
