"""What a burst has left behind goes back to the system, though pieces of it are still in use."""

import ctypes
import subprocess
import sys

import pytest

from rondo.node.spare_memory import INTERVAL_S

MB = 1024 * 1024
BURST = f"""
from rondo.node.spare_memory import SpareMemory, resident_bytes
from rondo.node.tuning import tune_memory
tune_memory()
spare = SpareMemory(0.0)
looks = iter(range(1, 9))
def look():
    spare.tick(next(looks) * {INTERVAL_S})
look()
blocks = [b"x" * 60_000 for _ in range(600)]
kept = blocks[::50]
del blocks
before = resident_bytes()
look()
at_first = resident_bytes()
look()
print(before, at_first, resident_bytes())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="malloc_trim is glibc's")
def test_a_burst_is_given_back_at_the_second_look() -> None:
    """One look may fall into a burst that goes on."""
    run = subprocess.run([sys.executable, "-c", BURST], capture_output=True, text=True, check=True, timeout=60)
    before, at_first, after = map(int, run.stdout.split())
    assert before - at_first < 5 * MB
    assert before - after > 20 * MB
