"""Processors are kept awake from the first message to a second after the last, where that is wanted and allowed."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import pytest

from services.totem.awake import AFTER_NS, NEVER_NS, Awake


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "cpu_dma_latency"
    path.write_bytes(b"")
    return path


def test_held_while_messages_flow(device: Path) -> None:
    awake = Awake(wanted=True, device=str(device))
    held = []
    for position, now_ns in ((0, 5), (1, 10), (2, 20), (2, 19 + AFTER_NS), (2, 20 + AFTER_NS), (3, 30 + AFTER_NS)):
        awake.note(position, now_ns)
        held.append(awake.is_held)
    assert held == [False, True, True, True, False, True]
    assert device.read_bytes() == struct.pack("@i", 0)
    assert awake.due_ns == 30 + 2 * AFTER_NS
    awake.close()
    assert not awake.is_held


def test_not_unless_it_is_wanted(device: Path) -> None:
    awake = Awake(wanted=False, device=str(device))
    awake.note(1, 10)
    assert not awake.is_held
    assert awake.due_ns == NEVER_NS


def test_a_refusal_is_said_once_with_its_mend(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    awake = Awake(wanted=True, device=str(tmp_path / "missing"))
    with caplog.at_level(logging.INFO, "TOTEM"):
        awake.note(1, 10)
        awake.note(2, 20)
    assert not awake.is_held
    assert len(caplog.records) == 1
    assert "system.low_latency: no" in caplog.text
