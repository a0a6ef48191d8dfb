"""Makes build/compiled: a copy of this tree with the hot modules as machine code beside their source.

    python -m tests.compiled_tree

Tests with real processes and measurements work in it. The tree that is edited holds no machine code, which Python would
take without asking how old it is. The copy is made anew, whole, whenever anything here has changed, and what has not
changed is not compiled again. What such a run leaves behind comes here: `LINKED` are no copies.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

from rondo.node import compile as compiler
from rondo.node import compiled

ROOT = Path(__file__).parents[1]
TREE = ROOT / "build" / "compiled"
LINKED = (".git", ".venv", "build")
"""History, environment, and what is made."""
LEFT_OUT = (
    "__pycache__", "*.egg-info", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".import_linter_cache",
    ".coverage*", "_compiled", "results",
)  # fmt: skip
STAMP = ".copy"
"""A file in the copy: the digest of all that was copied, and whether there is machine code with it."""

NO_COMPILER = 3


def main() -> int:
    """Exit code 0: the copy is there and has its machine code; 1: that could not be made, and the copy is as it was; 3:
    this machine has nothing to make it with, and everything in the copy runs from source."""
    stamp = digest(ROOT)
    if is_whole(TREE, stamp):
        return 0
    new = TREE.with_name(TREE.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    copy(ROOT, new)
    code = 0
    try:
        print(f"the hot modules as machine code, in {TREE}: about a minute if they have changed", file=sys.stderr)
        compiler.put(new, new, made_before=TREE)
        (new / STAMP).write_text(stamp, encoding="ascii")
    except compiler.NoCompiler as error:
        print(f"not compiled, everything runs from source: {error}", file=sys.stderr)
        code = NO_COMPILER
    except compiler.CannotCompile as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    replace(TREE, new)
    return code


def is_whole(tree: Path, stamp: str) -> bool:
    """The copy is of what has this digest, with machine code for this Python."""
    try:
        return (tree / STAMP).read_text(encoding="ascii") == stamp and compiled.is_there(tree)
    except (OSError, UnicodeDecodeError):
        return False


def digest(root: Path) -> str:
    """Of the names and contents of all files that are copied."""
    taken = hashlib.blake2b(digest_size=16)
    left_out = shutil.ignore_patterns(*LEFT_OUT)
    for directory, names, files in os.walk(root):
        top = LINKED if Path(directory) == root else ()
        for ignored in left_out(directory, names) | set(top):
            if ignored in names:
                names.remove(ignored)
        names.sort()
        for name in sorted(set(files) - left_out(directory, files) - set(top)):
            path = Path(directory, name)
            data = path.read_bytes()
            taken.update(f"{path.relative_to(root)} {len(data)}\n".encode())
            taken.update(data)
    return taken.hexdigest()


def copy(root: Path, tree: Path) -> None:
    """All of it into a new directory, which is two levels below."""
    left_out = shutil.ignore_patterns(*LEFT_OUT)
    tree.mkdir(parents=True)
    for path in root.iterdir():
        if path.name in LINKED:
            (tree / path.name).symlink_to(Path("..", "..", path.name))
        elif left_out(str(root), [path.name]):
            continue
        elif path.is_dir():
            shutil.copytree(path, tree / path.name, ignore=left_out)
        else:
            shutil.copy2(path, tree / path.name)


def replace(tree: Path, new: Path) -> None:
    """Put the new one into the place of the old one."""
    old = tree.with_name(tree.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if tree.exists():
        tree.rename(old)
    new.rename(tree)
    shutil.rmtree(old, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
