"""Confines the damage of a client that truncates its ring files to that client.

A client may truncate its files at any moment, also between a check and an access. The kernel then raises SIGBUS in the
process that touches the memory, and a handler of Python's `signal` would never run. So the kernel calls the handler
here directly. It maps an empty private page in place of the missing one, records the file, and returns. The access is
repeated and finds zeros. The owner checks `hit` after each turn and disconnects the client. A SIGBUS anywhere else ends
the process as usual.

The handler runs Python code in the middle of a memory access. That is sound, because ring memory is touched only by
single copies and by libc's semaphore functions. None of these holds a lock or half-changed state of the interpreter.
"""

from __future__ import annotations

import ctypes
import mmap
import signal

from services.qb_gateway import libc


class TruncationGuard:
    """The SIGBUS handler of this process."""

    def __init__(self) -> None:
        self.hit: set[int] = set()
        """Addresses of mappings that were found truncated; the owner clears it."""
        self._mappings: dict[int, int] = {}
        """Length of each mapping, by its address."""
        self._handler = libc.SignalHandler(self._on_fault)
        """Kept here because the kernel calls it during the whole life of the process."""
        self._default = libc.SignalAction()
        self._action = libc.SignalAction(
            handler=ctypes.cast(self._handler, ctypes.c_void_p).value, flags=libc.SA_SIGINFO
        )

    def install(self) -> None:
        """Install the handler."""
        libc.sigaction(signal.SIGBUS, self._action, None)

    def uninstall(self) -> None:
        """Restore the default action."""
        libc.sigaction(signal.SIGBUS, self._default, None)

    def watch(self, address: int, length: int) -> None:
        """Register the mapping of a file that a client can truncate."""
        self._mappings[address] = length

    def forget(self, address: int) -> None:
        """The mapping is about to be unmapped."""
        self._mappings.pop(address, None)
        self.hit.discard(address)

    def _on_fault(self, _number: int, info: int, _context: int) -> None:
        fault = ctypes.c_size_t.from_address(info + libc.FAULT_ADDRESS_OFFSET).value
        for address, length in self._mappings.items():
            if address <= fault < address + length:
                page = fault - fault % mmap.PAGESIZE
                flags = libc.MAP_FIXED_PRIVATE_ANONYMOUS
                if libc.mmap(page, mmap.PAGESIZE, libc.PAGE_READ_WRITE, flags, -1, 0) == page:
                    self.hit.add(address)
                    return
        libc.sigaction(signal.SIGBUS, self._default, None)
