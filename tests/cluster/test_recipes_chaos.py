"""The recipes on real nodes that are killed, stopped, cut off and lose packets at random, while callers go on.

Half of the applications use those of `rondo.recipes`, half those of `rondo.aio.recipes`, in the same groups.

RONDO_RECIPES_SECONDS: how long (20). RONDO_RECIPES_SEED: which faults. RONDO_RECIPES: which of them (all).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cluster.recipes_chaos.run import run

SECONDS = float(os.environ.get("RONDO_RECIPES_SECONDS", "20"))
SEED = int(os.environ.get("RONDO_RECIPES_SEED", "1"))
KINDS = {"barrier", "counter", "dict", "election", "lock", "notes", "once", "queue", "semaphore"}
USED = set(os.environ.get("RONDO_RECIPES", "").replace(",", " ").split()) or KINDS


@pytest.mark.namespaces
@pytest.mark.slow
@pytest.mark.timeout(900 + SECONDS)
def test_recipes_hold_what_they_promise(tmp_path: Path) -> None:
    assert USED <= KINDS, f"there is no {USED - KINDS}"
    verdict = run(SECONDS, SEED, tmp_path, sorted(USED))
    print(verdict)
    assert not verdict.faults, verdict.faults
    assert {kind for kind, calls in verdict.known.items() if calls >= SECONDS / 4} == USED, "each has done something"
    assert set(+verdict.of_asyncio) == USED, "and so has each of asyncio"
