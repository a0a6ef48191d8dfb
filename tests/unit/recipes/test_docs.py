"""The code blocks of docs/RECIPES.md do what they say, and the example does too."""

from __future__ import annotations

import contextlib
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

import rondo
import rondo.aio
from rondo.testing import Loopback

ROOT = Path(__file__).parents[3]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "RECIPES.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def one_node(monkeypatch: pytest.MonkeyPatch) -> Loopback:
    """What rondo.connect() finds."""
    loopback = Loopback(nodes=1)

    @contextlib.asynccontextmanager
    async def connect() -> Any:
        async with await loopback.connect_aio(1) as cluster:
            yield cluster

    monkeypatch.setattr(rondo, "connect", lambda *_, **__: loopback.connect(1))
    monkeypatch.setattr(rondo.aio, "connect", connect)
    return loopback


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block(number: int, one_node: Loopback) -> None:
    exec(compile(BLOCKS[number], f"docs/RECIPES.md, block {number + 1}", "exec"), {"__name__": "block"})


def test_there_are_blocks() -> None:
    assert len(BLOCKS) >= 6


def test_the_example(one_node: Loopback, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["job_queue.py", "3"])
    runpy.run_path(str(ROOT / "examples" / "job_queue.py"), run_name="__main__")
    assert capsys.readouterr().out.splitlines()[-1] == "3 jobs done, 6 in all"
