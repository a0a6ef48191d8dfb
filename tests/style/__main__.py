"""python -m tests.style: check every Python file of the repository; exit code 1 if a rule is broken."""

import subprocess
import sys
from pathlib import Path

from tests.style.rules import faults_of

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Print each fault as `file:line: what`, as compilers do."""
    listing = subprocess.run(["git", "ls-files", "-z", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = [name for name in listing.stdout.split("\0") if name and not (ROOT / name).is_symlink()]
    found = 0
    for name in names:
        for fault in faults_of((ROOT / name).read_text(encoding="utf-8"), name):
            print(f"{name}:{fault.line}: {fault.text}")
            found += 1
    print(f"style: {len(names)} files, {found} faults" if found else f"style: {len(names)} files hold the rules")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
