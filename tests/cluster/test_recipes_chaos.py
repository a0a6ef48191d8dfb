"""All recipes on real nodes that are killed, stopped, cut off and lose packets at random, while callers go on.

RONDO_RECIPES_SECONDS: how long (20). RONDO_RECIPES_SEED: which faults.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cluster.recipes_chaos.run import run

SECONDS = float(os.environ.get("RONDO_RECIPES_SECONDS", "20"))
SEED = int(os.environ.get("RONDO_RECIPES_SEED", "1"))
KINDS = {"barrier", "counter", "dict", "election", "lock", "notes", "once", "queue", "semaphore"}


@pytest.mark.namespaces
@pytest.mark.slow
@pytest.mark.timeout(900 + SECONDS)
def test_all_recipes_hold_what_they_promise(tmp_path: Path) -> None:
    verdict = run(SECONDS, SEED, tmp_path)
    print(verdict)
    assert not verdict.faults, verdict.faults
    assert {kind for kind, calls in verdict.known.items() if calls >= SECONDS / 4} == KINDS, "each has done something"
