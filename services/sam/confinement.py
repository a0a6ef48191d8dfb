"""Whether who asks is shut in more than what SAM would start for him: then he would get out through SAM.

The kernel vouches for a user number; but a process of that user may be in a container or a sandbox that was given the
node's socket, and what SAM starts runs outside of it. So these are compared between the process that asks and SAM, from
which everything that it starts has them:

- its namespaces. Who is in those of the first process of this machine is shut in by none; else they must be SAM's own;
- its root directory (chroot(2));
- capabilities: for root all that a program of root gets, for others what a program with privileges could get at most;
- no_new_privs, and filters of system calls (seccomp). Landlock shows nothing of itself, but needs no_new_privs;
- AppArmor's profile.

Control groups and limits of resources are not compared: an application has those of the node.
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
    """What shuts this process in and would not shut in what SAM starts for it, in words; empty if nothing does.

    A process of which that cannot be seen counts as shut in.
    """
    try:
        why = next(_differences(PROC / str(pid), uid), "")
    except (OSError, ValueError, KeyError) as error:
        why = f"what it may do cannot be seen ({error})"
    if not why and start_time_of(pid) != start_time:
        why = "it has ended"
    return why


def _differences(place: Path, uid: int) -> Iterator[str]:
    own = PROC / "self"
    for kind in NAMESPACES:
        if not _is_outside(place, own, kind):
            yield f"it is in another {kind} namespace"
    outermost = own if (place / "ns" / "mnt").readlink() == (own / "ns" / "mnt").readlink() else PROC / "1"
    if not os.path.samestat((place / "root").stat(), (outermost / "root").stat()):
        yield "its root directory is another one"
    its, ours = _status(place), _status(own)
    gains_by_exec = uid == 0 or ours["NoNewPrivs"] == "0"
    needed = int(ours["CapBnd"], 16)
    if gains_by_exec and needed & ~int(its["CapBnd"], 16):
        yield "capabilities were taken from it"
    if uid == 0 and needed & ~int(its["CapPrm"], 16):
        yield "it has not all capabilities of root"
    if int(its["NoNewPrivs"]) > int(ours["NoNewPrivs"]):
        yield "it has no_new_privs"
    if _filters(its) > _filters(ours):
        yield "its system calls are filtered (seccomp)"
    profile = _profile(place)
    if profile not in (UNCONFINED, "", _profile(own)):
        yield f"AppArmor confines it ({profile})"


def _is_outside(place: Path, own: Path, kind: str) -> bool:
    """Whether no namespace of this kind shuts it in more than us."""
    try:
        ours = (own / "ns" / kind).readlink()
    except FileNotFoundError:
        return True  # this kernel has no such
    return (place / "ns" / kind).readlink() == ours or _is_first(place, kind)


def _is_first(place: Path, kind: str) -> bool:
    """Whether it is in the namespace of the first process of this machine, as far as that may be seen."""
    with contextlib.suppress(OSError):
        return (PROC / "1" / "ns" / kind).readlink() == (place / "ns" / kind).readlink()
    return False


def _status(place: Path) -> dict[str, str]:
    lines = (place / "status").read_text(errors="replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _filters(status: dict[str, str]) -> int:
    """How many filters of system calls it has; one at least if it has any."""
    return max(int(status.get("Seccomp_filters", "0")), int(status.get("Seccomp", "0") != "0"))


def _profile(place: Path) -> str:
    """AppArmor's profile; empty without AppArmor."""
    try:
        return (place / "attr" / "apparmor" / "current").read_text().strip("\0\n").partition(" ")[0]
    except OSError:
        return ""
