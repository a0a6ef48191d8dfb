"""Functions of the C library that Python lacks: semaphores in shared memory, and what a SIGBUS handler needs.

A sem_t of glibc on 64-bit machines is the value (u32 @0), the number of waiters (u32 @4), and a word of flags @8.
sem_post passes the flags to a system call unchecked. A client that writes anything there could make that call end this
process, or block it. So posting is done here by one direct system call, FUTEX_WAKE_OP, which adds to the value and
wakes waiters, and trusts nothing in the memory. sem_trywait and sem_getvalue read only the first eight bytes. None of
these calls blocks, so the interpreter's lock is kept.
"""

from __future__ import annotations

import ctypes
import platform

_libc = ctypes.PyDLL(None, use_errno=True)

SEMAPHORE_SHARED = 1
PAGE_READ_WRITE = 0x1 | 0x2
MAP_FIXED_PRIVATE_ANONYMOUS = 0x10 | 0x02 | 0x20
SA_SIGINFO = 4

sem_init = _libc.sem_init
sem_init.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_uint)
_sem_trywait = _libc.sem_trywait
_sem_trywait.argtypes = (ctypes.c_void_p,)
_sem_getvalue = _libc.sem_getvalue
_sem_getvalue.argtypes = (ctypes.c_void_p, ctypes.POINTER(ctypes.c_int))

_FUTEX = {"x86_64": 202, "aarch64": 98}.get(platform.machine(), -1)
"""Number of the system call; -1, which no call has, on architectures where this was never tested."""
_FUTEX_WAKE_OP = 5
_FUTEX_OP_ADD = 1 << 28
_ADD_SHIFT = 12
_ADD_MAX = 2047
_WAKE_ALL = 0x7FFFFFFF
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (
    ctypes.c_long, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint
)  # fmt: skip

mmap = _libc.mmap
mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
mmap.restype = ctypes.c_void_p


class SignalAction(ctypes.Structure):
    """struct sigaction of glibc and musl on 64-bit Linux"""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ubyte * 128),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


SignalHandler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
FAULT_ADDRESS_OFFSET = 16
"""Offset of si_addr in siginfo_t."""

sigaction = _libc.sigaction
sigaction.argtypes = (ctypes.c_int, ctypes.POINTER(SignalAction), ctypes.c_void_p)


class SharedSemaphore:
    """A sem_t at an address that the owner keeps mapped."""

    def __init__(self, address: int) -> None:
        """Initialises it with the value 0."""
        self._at = ctypes.c_void_p(address)
        self._value = ctypes.c_int()
        self._value_at = ctypes.byref(self._value)
        if sem_init(self._at, SEMAPHORE_SHARED, 0) != 0:
            raise OSError(ctypes.get_errno(), "sem_init failed")

    def post(self, count: int) -> None:
        """Add `count`, and wake the client if it waits. Does nothing if the memory is not there any more."""
        at = self._at
        while count > 0:
            add = min(count, _ADD_MAX)
            _syscall(_FUTEX, at, _FUTEX_WAKE_OP, _WAKE_ALL, None, at, _FUTEX_OP_ADD | add << _ADD_SHIFT)
            count -= add

    def take(self) -> bool:
        """Subtract one. False, without waiting, if it is 0."""
        return bool(_sem_trywait(self._at) == 0)

    def is_zero(self) -> bool:
        """True if the value is 0."""
        _sem_getvalue(self._at, self._value_at)
        return self._value.value <= 0
