"""Nodes of other users than the test's: what they have to read may lie where only the test's own user may go.

A Python in the home directory of root is such a case. A host has mounts of its own: the way is opened there alone.
"""

import shlex
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from rondo.testing.lab.netns import Host
from rondo.testing.lab.rondo_node import REPOSITORY

PROGRAMS = (Path(sys.base_prefix), Path(sys.prefix), REPOSITORY)
"""What a node of Rondo consists of."""


def _closed(place: Path) -> Path | None:
    """The uppermost directory on the way to this one that others may not pass through; None if they may."""
    return next((each for each in reversed(place.parents) if not each.stat().st_mode & stat.S_IXOTH), None)


def let_in(host: Host, places: Iterable[Path] = PROGRAMS) -> None:
    """Let every user of a host pass through to these directories: whatever else is in a closed one on the way is hidden
    there from now on. Raises LabError."""
    closed = {place.resolve(): way for place in places if (way := _closed(place.resolve()))}
    aside = {place: f"/run/aside-{number}" for number, place in enumerate(closed)}
    lines = ["set -e"]
    for place, kept in aside.items():
        lines += [f"mkdir {kept}", f"mount --bind {shlex.quote(str(place))} {kept}"]
    lines += [f"mount -t tmpfs -o mode=755 tmpfs {shlex.quote(str(way))}" for way in sorted(set(closed.values()))]
    for place, kept in aside.items():
        quoted = shlex.quote(str(place))
        lines += [f"mkdir -p {quoted}", f"mount --bind {kept} {quoted}"]
    host.run(["sh"], script="\n".join(lines))
