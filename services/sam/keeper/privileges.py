"""Removes privileges of the node that an application must not inherit from the process that starts it.

The node may be started with capabilities (`system.sched_rr` needs CAP_SYS_NICE). It may also be protected from the OOM
killer (OOMScoreAdjust). A child inherits both, but they are meant only for the node's services.
"""

import contextlib
import ctypes
import struct

OOM_SCORE = "/proc/self/oom_score_adj"
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
CAPABILITY_VERSION_3 = 0x20080522
CAPABILITY_SETS_BYTES = 24
"""The size of the sets effective, permitted and inheritable: 32 bits of each, then the next 32 (capset(2))."""

_libc = ctypes.CDLL(None, use_errno=True)
_header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)


def lose_protection(place: str = OOM_SCORE) -> None:
    """Remove this process's protection from the OOM killer. Call this before the change of user."""
    with contextlib.suppress(OSError):
        with open(place) as file:
            score = int(file.read())
        if score < 0:
            with open(place, "w") as file:
                file.write("0")


def lose_capabilities(uid: int) -> None:
    """Remove all capabilities of this process, or only the ambient ones if the user is root. Raises OSError.

    A setuid program, or one with file capabilities, still gets its own when it is executed."""
    _libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    if uid != 0 and _libc.capset(_header, bytes(CAPABILITY_SETS_BYTES)) != 0:
        raise OSError(ctypes.get_errno(), "capset")
