"""Removes what an application must not inherit from the node, since the node's processes start it.

The node may be started with capabilities (`system.sched_rr` needs CAP_SYS_NICE), and be protected from the OOM killer
(OOMScoreAdjust). Both are inherited, and both are for its services alone.
"""

import contextlib
import ctypes
import struct

OOM_SCORE = "/proc/self/oom_score_adj"
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
CAPABILITY_VERSION_3 = 0x20080522
CAPABILITY_SETS_BYTES = 24
"""Effective, permitted and inheritable, twice 32 bits of each (capset(2))."""

_libc = ctypes.CDLL(None, use_errno=True)
_header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)


def lose_protection(place: str = OOM_SCORE) -> None:
    """Remove the protection from the OOM killer. Call it before the change of user."""
    with contextlib.suppress(OSError):
        with open(place) as file:
            score = int(file.read())
        if score < 0:
            with open(place, "w") as file:
                file.write("0")


def lose_capabilities(uid: int) -> None:
    """Remove all capabilities, unless the user is root. A privileged program may still raise them. Raises OSError."""
    _libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    if uid != 0 and _libc.capset(_header, bytes(CAPABILITY_SETS_BYTES)) != 0:
        raise OSError(ctypes.get_errno(), "capset")
