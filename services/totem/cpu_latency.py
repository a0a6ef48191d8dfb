"""Keeps the processors of this machine from sleeping while messages flow (system.low_latency).

A processor with nothing to do sleeps, and takes time to wake: some microseconds on real hardware, fifty and more in a
virtual machine, whose host has to schedule it first. A message passes through a handful of processes. Each of them
waits for the one before, so a message pays that price several times. While a process holds /dev/cpu_dma_latency open
with a 0 in it, idle processors poll instead of sleeping (the kernel's Documentation/power/pm_qos_interface). That costs
power, and in a virtual machine it costs the host processor time. So the configuration has to ask for it, and the device
is held open only from the first message until a while after the last.
"""

from __future__ import annotations

import logging
import os
import struct
from typing import Final

from rondo.node.logs import notice

DEVICE: Final = "/dev/cpu_dma_latency"
AFTER_NS: Final = 1_000_000_000
"""How long after the last message the processors are kept awake."""

NEVER_NS: Final = 1 << 62
_log = logging.getLogger("TOTEM")


class CpuLatencyLock:
    """Holds the device open for one process. It does nothing unless it is wanted."""

    def __init__(self, *, wanted: bool, device: str = DEVICE) -> None:
        self._wanted = wanted
        self._device = device
        self._position = 0
        self._held: int | None = None
        self.due_ns = NEVER_NS
        """When to call `note` even if nothing happens."""

    @property
    def is_held(self) -> bool:
        """Whether the processors are kept awake now."""
        return self._held is not None

    def note(self, position: int, now_ns: int) -> None:
        """`position`: the head of the message log. Opens or closes the device if that is due."""
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
