"""The name of a process in ps, top and kernel messages. Without it all of them would be `python3`."""

import contextlib
from pathlib import Path

NAME_BYTES_MAX = 15
"""TASK_COMM_LEN without its NUL; the kernel cuts off more."""


def set_process_name(name: str) -> None:
    """Name this process `rondo-NAME`, as far as there is room. Does nothing where /proc cannot be written."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_bytes(f"rondo-{name}".encode()[:NAME_BYTES_MAX])


def process_name_of(pid: int) -> str:
    """The name of a process; empty if it is not known."""
    try:
        return Path(f"/proc/{pid}/comm").read_bytes()[:NAME_BYTES_MAX].decode(errors="replace").strip("\n")
    except OSError:
        return ""
