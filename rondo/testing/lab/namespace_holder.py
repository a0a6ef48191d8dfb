"""The process that keeps one host's namespaces alive, and whose death takes everything in them along.

It is started inside fresh network and mount namespaces and needs nothing but the standard library. It gives the
host a `/run` and a `/dev/shm` of its own, says `ready`, and waits for a line or the end of its standard input. That
input is a pipe from the test: closed, or broken because the test was killed, it makes the holder kill every process
in its network namespace, daemons included, and go. The kernel then removes the namespaces, and nothing is left
behind.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

KILL_ROUNDS_MAX = 500
KILL_ROUND_PAUSE_S = 0.01


def prepare() -> None:
    """Mount what must be private to the host, and let IPv6 addresses be usable at once (no duplicate detection)."""
    for place in ("/run", "/dev/shm"):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", place], check=True)
    for setting in Path("/proc/sys/net/ipv6/conf").glob("*/accept_dad"):
        setting.write_text("0")


def processes_here() -> list[int]:
    """Return the other processes in this network namespace."""
    mine = os.readlink("/proc/self/ns/net")
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if os.readlink(entry / "ns/net") == mine:
                found.append(int(entry.name))
        except OSError:  # it has gone, or belongs to somebody whose namespaces we may not see: not one of ours
            continue
    return found


def clear() -> None:
    """Kill until nobody is left: a process may fork while it is being killed."""
    for _ in range(KILL_ROUNDS_MAX):
        pids = processes_here()
        if not pids:
            return
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(KILL_ROUND_PAUSE_S)


def main() -> None:
    prepare()
    print("ready", flush=True)
    sys.stdin.readline()
    clear()


if __name__ == "__main__":
    main()
