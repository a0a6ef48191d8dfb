"""Where this installation is, how its processes are started, and whether another distribution overlaps with it."""

import importlib.metadata
import sys
from pathlib import Path

from rondo.node import isolated
from rondo.node.supervision import SERVICES

SCRIPT = Path(isolated.__file__)
ROOT = Path(isolated.ROOT)
OWN = ("rondo",)
"""The distribution that owns these packages."""


def command(module: str) -> list[str]:
    """The command line that runs a module of this installation, whatever the environment and the working directory
    are."""
    return [sys.executable, "-I", str(SCRIPT), "-m", module]


def strangers(root: Path = ROOT) -> str:
    """What is wrong with the package `services`, in one line with the remedy; empty if nothing is.

    A wheel with a top-level package of the same name is unpacked into the same directory. Where both have a file, the
    later one wins. Only the names in the directory are looked at, unless one of them is not Rondo's.
    """
    package = root / "services"
    try:
        names = {each.name for each in package.iterdir()} - {"__pycache__"}
    except OSError as error:
        return f"{package}: {error.strerror}; install Rondo anew"
    ours = {"__init__.py", "py.typed", *SERVICES}
    if missing := ours - {"py.typed"} - names:
        return f"{package} lacks {', '.join(sorted(missing))}; install Rondo anew"
    if not names - ours:
        return ""
    others = sorted(set(importlib.metadata.packages_distributions().get("services", ())) - set(OWN))
    whose = f"the distribution {', '.join(others)}" if others else "something else"
    return (
        f"{package} is shared with {whose} (it has {', '.join(sorted(names - ours)[:3])}): one may replace files of "
        "the other; install Rondo into a virtual environment of its own"
    )
