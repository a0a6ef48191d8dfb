"""What the system refuses is said in one line, and the process runs without it."""

from __future__ import annotations

import logging
import os
import sys

import pytest

from services.totem import tuning


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    # The interpreter of the tests stays as it is.
    monkeypatch.setattr(sys, "setswitchinterval", lambda _: None)
    monkeypatch.setattr("gc.freeze", lambda: None)


def test_refusals_are_one_line(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(tuning, "_lock_memory", refuse)
    caplog.set_level(logging.INFO)
    tuning.tune((4096,), realtime=True)
    assert len(caplog.messages) == 1
    assert "run on CPU 4096" in caplog.messages[0]
    assert "use SCHED_RR (Operation not permitted)" in caplog.messages[0]
    assert "lock its memory (Operation not permitted)" in caplog.messages[0]


def test_nothing_is_said_if_nothing_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tuning.tune((), realtime=False)
    assert caplog.messages == []


def test_the_process_runs_where_it_is_told(caplog: pytest.LogCaptureFixture) -> None:
    before = os.sched_getaffinity(0)
    caplog.set_level(logging.INFO)
    try:
        tuning.tune((min(before),), realtime=False)
        assert os.sched_getaffinity(0) == {min(before)}
    finally:
        os.sched_setaffinity(0, before)
    assert caplog.messages == []
