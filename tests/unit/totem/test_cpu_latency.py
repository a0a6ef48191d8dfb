"""Processors are kept awake from the first message to a second after the last, where that is wanted and allowed."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import pytest

from services.totem.cpu_latency import AFTER_NS, NEVER_NS, CpuLatencyLock


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "cpu_dma_latency"
    path.write_bytes(b"")
    return path


def test_held_while_messages_flow(device: Path) -> None:
    lock = CpuLatencyLock(wanted=True, device=str(device))
    held = []
    for position, now_ns in ((0, 5), (1, 10), (2, 20), (2, 19 + AFTER_NS), (2, 20 + AFTER_NS), (3, 30 + AFTER_NS)):
        lock.note(position, now_ns)
        held.append(lock.is_held)
    assert held == [False, True, True, True, False, True]
    assert device.read_bytes() == struct.pack("@i", 0)
    assert lock.due_ns == 30 + 2 * AFTER_NS
    lock.close()
    assert not lock.is_held


def test_not_unless_it_is_wanted(device: Path) -> None:
    lock = CpuLatencyLock(wanted=False, device=str(device))
    lock.note(1, 10)
    assert not lock.is_held
    assert lock.due_ns == NEVER_NS


def test_a_refusal_is_said_once_with_its_mend(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lock = CpuLatencyLock(wanted=True, device=str(tmp_path / "missing"))
    with caplog.at_level(logging.INFO, "TOTEM"):
        lock.note(1, 10)
        lock.note(2, 20)
    assert not lock.is_held
    assert len(caplog.records) == 1
    assert "system.low_latency: no" in caplog.text
