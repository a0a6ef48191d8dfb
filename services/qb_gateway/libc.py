"""The few functions of the C library that Python does not have: semaphores in shared memory, and what a SIGBUS needs.

A sem_t has a futex and a count of waiters in it, so nothing but libc itself may touch it; client and gateway use the
same one. None of these calls waits, so the interpreter's lock is kept.
"""

from __future__ import annotations

import ctypes

_libc = ctypes.PyDLL(None, use_errno=True)

SEMAPHORE_SHARED = 1
PAGE_READ_WRITE = 0x1 | 0x2
MAP_FIXED_PRIVATE_ANONYMOUS = 0x10 | 0x02 | 0x20
SA_SIGINFO = 4

sem_init = _libc.sem_init
sem_init.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_uint)
_sem_post = _libc.sem_post
_sem_post.argtypes = (ctypes.c_void_p,)
_sem_trywait = _libc.sem_trywait
_sem_trywait.argtypes = (ctypes.c_void_p,)
_sem_getvalue = _libc.sem_getvalue
_sem_getvalue.argtypes = (ctypes.c_void_p, ctypes.POINTER(ctypes.c_int))

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
"""Of si_addr in siginfo_t."""

sigaction = _libc.sigaction
sigaction.argtypes = (ctypes.c_int, ctypes.POINTER(SignalAction), ctypes.c_void_p)


class SharedSemaphore:
    """A sem_t at an address that the owner keeps mapped."""

    def __init__(self, address: int) -> None:
        """Made with the value 0."""
        self._at = ctypes.c_void_p(address)
        self._value = ctypes.c_int()
        self._value_at = ctypes.byref(self._value)
        if sem_init(self._at, SEMAPHORE_SHARED, 0) != 0:
            raise OSError(ctypes.get_errno(), "sem_init failed")

    def post(self, count: int) -> None:
        """Add `count`. Where a client has brought it to its end nothing is added; that is the client's loss."""
        at = self._at
        for _ in range(count):
            _sem_post(at)

    def take(self) -> bool:
        """Subtract one; False, at once, if it is 0."""
        return bool(_sem_trywait(self._at) == 0)

    def is_zero(self) -> bool:
        """Whether there is nothing to take."""
        _sem_getvalue(self._at, self._value_at)
        return self._value.value <= 0
