"""The example does what docs/RECIPES.md says. The blocks of the document itself: tests/unit/documents."""

import runpy
from pathlib import Path

import pytest

from tests.documents.on_loopback import one_node

ROOT = Path(__file__).parents[3]


def test_the_example(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["job_queue.py", "3"])
    with one_node():
        runpy.run_path(str(ROOT / "examples" / "job_queue.py"), run_name="__main__")
    assert capsys.readouterr().out.splitlines()[-1] == "3 jobs done, 6 in all"
