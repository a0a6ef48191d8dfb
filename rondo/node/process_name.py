"""The name under which a process stands in ps, top and the kernel's messages: not `python3`, which they all are."""

import contextlib
from pathlib import Path

NAME_BYTES_MAX = 15
"""TASK_COMM_LEN without its NUL; the kernel cuts off more."""


def set_process_name(name: str) -> None:
    """Call this process `rondo-NAME`, as far as there is room; nothing happens where /proc cannot be written."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_bytes(f"rondo-{name}".encode()[:NAME_BYTES_MAX])


def process_name_of(pid: int) -> str:
    """What a process is called; empty if that is not known (any more)."""
    try:
        return Path(f"/proc/{pid}/comm").read_bytes()[:NAME_BYTES_MAX].decode(errors="replace").strip("\n")
    except OSError:
        return ""
