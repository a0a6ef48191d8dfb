"""Reads the output of applications, for `rondo sam logs`: two files for each, of which the keeper writes one."""

import os
from pathlib import Path
from typing import Any, BinaryIO

READ_BYTES = 256 * 1024


def read_output(log: str, inode: int, offset: int) -> dict[str, Any]:
    """The output after that place. If the place does not exist any more, from the beginning of what is kept. Raises
    OSError."""
    opened: list[BinaryIO] = []
    try:
        # The newest first: a file that is just being renamed is found under its new name.
        for path in (Path(log), Path(f"{log}.1")):
            try:
                opened.insert(0, path.open("rb"))
            except OSError:
                continue
        inodes = [os.fstat(each.fileno()).st_ino for each in opened]
        at = inodes.index(inode) if inode in inodes else 0
        for index in range(at, len(opened)):
            start = offset if inodes[index] == inode else 0
            opened[index].seek(start)
            data = opened[index].read(READ_BYTES)
            if data or index == len(opened) - 1:
                is_last = index == len(opened) - 1 and len(data) < READ_BYTES
                return {"data": data, "inode": inodes[index], "offset": start + len(data), "more": not is_last}
        return {"data": b"", "inode": 0, "offset": 0, "more": False}
    finally:
        for each in opened:
            each.close()
