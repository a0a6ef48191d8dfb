"""The signs that a process is a copy of itself, and what a node makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rondo.config.node import SecuritySettings
from services.totem.copied import STEP_NS, CopyWatch
from services.totem.protection import draw_boot
from tests.unit.security.nodes import KEY
from tests.unit.totem.test_protection import protection

SECOND_NS = 1_000_000_000


def test_a_step_of_the_clock_is_a_sign_once() -> None:
    for step_ns in (STEP_NS, -STEP_NS, 3600 * SECOND_NS):
        watch = CopyWatch(1000 * SECOND_NS, 5 * SECOND_NS)
        assert not watch.was_copied(1001 * SECOND_NS, 6 * SECOND_NS, told=False)
        assert watch.was_copied(1002 * SECOND_NS + step_ns, 7 * SECOND_NS, told=False)
        assert not watch.was_copied(1003 * SECOND_NS + step_ns, 8 * SECOND_NS, told=False)
        watch.close()


def test_a_clock_that_is_slewed_is_none() -> None:
    watch = CopyWatch(0, 0)
    wall_ns = 0
    for second in range(1, 10_000):
        wall_ns += SECOND_NS + 500_000  # as fast as a clock is ever slewed
        assert not watch.was_copied(wall_ns, second * SECOND_NS, told=False)
    watch.close()


def test_without_events_of_the_kernel_there_is_the_clock() -> None:
    watch = CopyWatch(0, 0)
    assert not watch.was_copied(0, 0, told=watch.fileno() >= 0)
    watch.close()
    assert watch.fileno() == -1
    assert watch.was_copied(STEP_NS, 0, told=False)


def test_a_new_life_seals_under_another_boot(tmp_path: Path) -> None:
    made = protection(tmp_path, SecuritySettings("aes256-gcm", "none", key=KEY))
    before = made.seal(b"\x70\xc0\x03\x01frame")
    made.begin_life()
    after = made.seal(b"\x70\xc0\x03\x01frame")
    assert before[14:30] != after[14:30]
    assert before[32:40] == after[32:40] == (1).to_bytes(8)


def test_copies_that_draw_the_same_random_bytes_have_other_boots(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copied machine may draw what the original draws; but it is another moment."""
    monkeypatch.setattr("services.totem.protection.os.urandom", bytes)
    assert len({draw_boot() for _ in range(100)}) == 100
