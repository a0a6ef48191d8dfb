"""What a client that truncates its ring files brings upon itself, and upon nobody else.

Each client may truncate its files at any moment, also between a check and an access: the kernel then raises SIGBUS in
whoever touches the memory, and a signal handler of Python's `signal` would never get to run. So the handler here is one
that the kernel calls directly. It lays an empty private page where the file has none any more, notes which file that
was, and returns; the access is repeated and finds zeros. The owner looks at `hit` after each turn and hangs the client
up. A SIGBUS anywhere else ends the process as ever.

The handler runs Python code in the middle of a memory access. That is sound because ring memory is touched by single
copies and by libc's semaphore functions only, none of which holds a lock or half-changed state of the interpreter.
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
        """Addresses of mappings that are not whole any more, since somebody last looked."""
        self._mappings: dict[int, int] = {}
        """Length of each, by its address."""
        self._handler = libc.SignalHandler(self._on_fault)
        """The kernel calls through it for as long as the process lives."""
        self._default = libc.SignalAction()
        self._action = libc.SignalAction(
            handler=ctypes.cast(self._handler, ctypes.c_void_p).value, flags=libc.SA_SIGINFO
        )

    def install(self) -> None:
        """Take SIGBUS over."""
        libc.sigaction(signal.SIGBUS, self._action, None)

    def uninstall(self) -> None:
        """Give SIGBUS back."""
        libc.sigaction(signal.SIGBUS, self._default, None)

    def watch(self, address: int, length: int) -> None:
        """A mapping of a file that a client can truncate."""
        self._mappings[address] = length

    def forget(self, address: int) -> None:
        """It is about to be unmapped."""
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
