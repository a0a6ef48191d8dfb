"""`import rondo` is cheap: applications import it, and so does every command and every service."""

import subprocess
import sys

CPU_MS_MAX = 60
TRIES = 5
MEASURED = """
import sys, time
before, started = set(sys.modules), time.process_time()
import rondo
print(1000 * (time.process_time() - started), *sorted(set(sys.modules) - before))
"""
EXPENSIVE = {"asyncio", "cryptography", "dataclasses", "hashlib", "msgpack", "pydantic", "socket", "supervisor", "zmq"}


def measured() -> tuple[float, set[str]]:
    """CPU time of the import in a process of its own, and the modules that came with it."""
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True, timeout=60)
    took_ms, *modules = done.stdout.split()
    return float(took_ms), set(modules)


def test_an_import_takes_few_milliseconds() -> None:
    # CPU time, and the best of some: other processes of this machine do not count.
    assert min(measured()[0] for _ in range(TRIES)) < CPU_MS_MAX


def test_nothing_of_the_client_or_of_other_packages_is_loaded() -> None:
    _, modules = measured()
    assert {name for name in modules if name.startswith("rondo")} == {"rondo"}
    assert not EXPENSIVE & modules
