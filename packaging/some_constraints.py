"""What one purpose needs of constraints.txt: python packaging/some_constraints.py PART PACKAGE[EXTRA,...] ... > FILE

    rondo                    a node, at run time
    rondo[web]               one with its page
    rondo mypy setuptools    building a wheel with machine code

PART is a file with one part of it. The entries of the packages (Rondo itself has none) and of all that they need are
printed, with their hashes; the rest, tools for tests for instance, is left out. Who needs what is read from what the
Python that runs this has installed.
"""

import importlib.metadata
import re
import sys
from collections.abc import Collection
from pathlib import Path

NAME = re.compile(r"[A-Za-z0-9._-]+")
EXTRA = re.compile(r"\bextra\s*==\s*[\"']([^\"']+)")


def closure(root: str, extras: Collection[str] = ()) -> set[str]:
    """This distribution and those that it needs, also for some of its own extras, by their normal names."""
    found = {root}
    waiting = [root]
    while waiting:
        of = waiting.pop()
        for requirement in importlib.metadata.requires(of) or ():
            match, extra = NAME.match(requirement), EXTRA.search(requirement)
            if match is None or (extra is not None and (of != root or extra[1] not in extras)):
                continue
            name = re.sub(r"[-_.]+", "-", match[0]).lower()
            if name not in found and _is_here(name):
                found.add(name)
                waiting.append(name)
    return found


def _is_here(name: str) -> bool:
    """What an environment marker leaves out is not installed."""
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def main() -> None:
    """Print the entries, in their order."""
    wanted: set[str] = set()
    for package in sys.argv[2:]:
        name, _, extras = package.rstrip("]").partition("[")
        wanted |= closure(name, extras.split(","))
    is_wanted = False
    for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith((" ", "#")):
            is_wanted = line.partition("==")[0] in wanted
        if is_wanted and not line.startswith("#"):
            print(line)


if __name__ == "__main__":
    main()
