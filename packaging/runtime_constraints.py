"""What an installation needs at run time: python packaging/runtime_constraints.py PART [EXTRA ...] > FILE

PART holds one part of constraints.txt. Entries that Rondo's own dependencies, those of the named extras, and theirs,
name are printed with their hashes; tools for tests and building are left out. Who needs what is read from the packages
that the Python which runs this has.
"""

import importlib.metadata
import re
import sys
from collections.abc import Collection
from pathlib import Path

NAME = re.compile(r"[A-Za-z0-9._-]+")
EXTRA = re.compile(r"\bextra\s*==\s*[\"']([^\"']+)")


def closure(root: str, extras: Collection[str] = ()) -> set[str]:
    """The distributions that this one needs, with those of some of its own extras, by their normal names."""
    found: set[str] = set()
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
    wanted = closure("rondo", sys.argv[2:])
    is_wanted = False
    for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith((" ", "#")):
            is_wanted = line.partition("==")[0] in wanted
        if is_wanted and not line.startswith("#"):
            print(line)


if __name__ == "__main__":
    main()
