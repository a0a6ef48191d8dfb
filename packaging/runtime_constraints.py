"""What an installation needs at run time, of constraints.txt: python packaging/runtime_constraints.py PART > FILE

PART holds one part of constraints.txt. Entries that Rondo's own dependencies, and theirs, name are printed with their
hashes; tools for tests and building are left out. Who needs what is read from the packages that the Python which runs
this has.
"""

import importlib.metadata
import re
import sys
from pathlib import Path

NAME = re.compile(r"[A-Za-z0-9._-]+")
EXTRA = re.compile(r"\bextra\s*==")


def closure(root: str) -> set[str]:
    """The distributions that this one needs, without those of extras, by their normal names."""
    found: set[str] = set()
    waiting = [root]
    while waiting:
        for requirement in importlib.metadata.requires(waiting.pop()) or ():
            match = NAME.match(requirement)
            if match is None or EXTRA.search(requirement):
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
    wanted = closure("rondo")
    is_wanted = False
    for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith((" ", "#")):
            is_wanted = line.partition("==")[0] in wanted
        if is_wanted and not line.startswith("#"):
            print(line)


if __name__ == "__main__":
    main()
