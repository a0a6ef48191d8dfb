"""`rondo wait`: what it says when the time is over."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rondo.cli.commands import wait
from rondo.cli.output import CommandError
from rondo.node.supervision import survey


def said(monkeypatch: pytest.MonkeyPatch, answers: Iterator[dict[str, Any] | None], run_dir: Path) -> str:
    monkeypatch.setattr(survey, "ask_one", lambda *_arguments, **_options: next(answers, None))
    with pytest.raises(CommandError) as caught:
        wait.run(argparse.Namespace(run_dir=str(run_dir), members=2, timeout=1.0))
    return str(caught.value)


def test_the_last_answer_counts_although_the_last_question_had_no_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one = {"state": "operational", "members": [1]}
    assert said(monkeypatch, iter([one]), tmp_path).endswith("the node is in state operational, members: 1")


def test_a_node_that_never_answered_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "the node does not answer" in said(monkeypatch, iter(()), tmp_path)
