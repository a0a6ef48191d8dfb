"""Checks that the asking process is not confined more than the processes that SAM starts. Else it could escape by SAM.

The kernel vouches for a user id. But a process of that user may run in a container or a sandbox that was given the
node's socket, and what SAM starts runs outside of it. So these are compared between the asking process and SAM, from
which everything that SAM starts inherits them:

- its namespaces: each must be that of the first process of this machine, or SAM's own;
- its root directory (chroot(2));
- capabilities: for root all that a program of root gets, for others the most that a privileged program could get;
- no_new_privs, and filters of system calls (seccomp). Landlock is not visible, but needs no_new_privs;
- AppArmor's profile.

Control groups and resource limits are not compared: an application has those of the node.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from services.sam.signals import start_time_of

NAMESPACES = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time")
UNCONFINED = "unconfined"
PROC = Path("/proc")


def confinement_of(pid: int, start_time: int, uid: int) -> str:
    """What confines this process and would not confine what SAM starts for it, in words; empty if nothing does.

    A process that cannot be inspected counts as confined.
    """
    try:
        why = next(_differences(PROC / str(pid), uid), "")
    except (OSError, ValueError, KeyError) as error:
        why = f"its confinement cannot be seen ({error})"
    if not why and start_time_of(pid) != start_time:
        why = "it has ended"
    return why


def _differences(place: Path, uid: int) -> Iterator[str]:
    own = PROC / "self"
    for kind in NAMESPACES:
        if not _is_as_free(place, own, kind):
            yield f"it is in another {kind} namespace"
    outermost = own if (place / "ns" / "mnt").readlink() == (own / "ns" / "mnt").readlink() else PROC / "1"
    if not os.path.samestat((place / "root").stat(), (outermost / "root").stat()):
        yield "it has another root directory"
    its, ours = _status(place), _status(own)
    gains_by_exec = uid == 0 or ours["NoNewPrivs"] == "0"
    needed = int(ours["CapBnd"], 16)
    if gains_by_exec and needed & ~int(its["CapBnd"], 16):
        yield "capabilities were taken from it"
    if uid == 0 and needed & ~int(its["CapPrm"], 16):
        yield "it lacks capabilities of root"
    if int(its["NoNewPrivs"]) > int(ours["NoNewPrivs"]):
        yield "it has no_new_privs"
    if _filters(its) > _filters(ours):
        yield "its system calls are filtered (seccomp)"
    profile = _profile(place)
    if profile not in (UNCONFINED, "", _profile(own)):
        yield f"AppArmor confines it ({profile})"


def _is_as_free(place: Path, own: Path, kind: str) -> bool:
    """True if its namespace of this kind confines it no more than ours."""
    try:
        ours = (own / "ns" / kind).readlink()
    except FileNotFoundError:
        return True  # this kernel has no such namespaces
    return (place / "ns" / kind).readlink() == ours or _is_first(place, kind)


def _is_first(place: Path, kind: str) -> bool:
    """True if it is in the namespace of the first process of this machine, as far as that is visible."""
    with contextlib.suppress(OSError):
        return (PROC / "1" / "ns" / kind).readlink() == (place / "ns" / kind).readlink()
    return False


def _status(place: Path) -> dict[str, str]:
    lines = (place / "status").read_text(errors="replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _filters(status: dict[str, str]) -> int:
    """How many filters of system calls it has; at least one if it has any."""
    return max(int(status.get("Seccomp_filters", "0")), int(status.get("Seccomp", "0") != "0"))


def _profile(place: Path) -> str:
    """Its AppArmor profile; empty without AppArmor."""
    try:
        return (place / "attr" / "apparmor" / "current").read_text().strip("\0\n").partition(" ")[0]
    except OSError:
        return ""
