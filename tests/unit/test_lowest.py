"""The lowest versions, as they are read from pyproject.toml; and every pin of constraints.txt has hashes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lowest import ROOT, bounds, pins

PYPROJECT = '[project]\ndependencies = ["one>=2", "two-parts>=1.5.2"]\n'


def test_lower_bounds_replace_the_pins_of_ci() -> None:
    constraints = "# of CI\none==3.0 \\\n    --hash=sha256:00\nother==4.1\npydantic-core==9\ntwo-parts==7\n"
    assert pins(PYPROJECT, constraints) == ["one==2", "other==4.1", "two-parts==1.5.2"]


@pytest.mark.parametrize("requirement", ["one", "one==2", "one>=2,<3"])
def test_anything_but_a_lower_bound_is_refused(requirement: str) -> None:
    with pytest.raises(ValueError, match="lower bound"):
        bounds(f'[project]\ndependencies = ["{requirement}"]\n')


def test_the_projects_own_are_read() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert set(bounds(text)) == {"pyzmq", "msgpack", "cryptography", "pydantic", "supervisor"}


def test_every_pin_has_hashes() -> None:
    """pip checks what it downloads against them, and refuses what has none (`make setup`)."""
    text = Path(ROOT / "constraints.txt").read_text(encoding="utf-8")
    pins = re.findall(r"^[^#\s]+==.*", text, re.MULTILINE)
    hashed = re.findall(r"^[^#\s]+== ?\S+ \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert len(pins) > 40
    assert len(hashed) == len(pins)
