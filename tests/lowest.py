"""The pins of the lowest versions that pyproject.toml admits: what `make test-lowest` installs.

    python -m tests.lowest > pins.txt

A lower bound that nobody tries is a guess. So the packages that the project itself needs are pinned to exactly their
lower bounds, what the tests need besides to what CI has (constraints.txt), and what comes with the former is left open.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLLOWS = frozenset({"pydantic-core", "cffi", "typing-extensions", "typing-inspection", "annotated-types"})
"""Chosen by the packages that need them."""

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)>=([0-9.]+)")
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s\\;]+)", re.MULTILINE)


def bounds(pyproject: str) -> dict[str, str]:
    """The lower bound of each package that the project needs to run. Raises ValueError if one has none."""
    found = {}
    for requirement in tomllib.loads(pyproject)["project"]["dependencies"]:
        match = _REQUIREMENT.fullmatch(requirement)
        if match is None:
            raise ValueError(f"{requirement}: only a lower bound is expected here, as in name>=1.2")
        found[match[1]] = match[2]
    return found


def pins(pyproject: str, constraints: str) -> list[str]:
    """What pip is to install, as constraints."""
    lowest = bounds(pyproject)
    chosen = FOLLOWS | lowest.keys()
    others = {name: version for name, version in _PIN.findall(constraints) if name not in chosen}
    return sorted(f"{name}=={version}" for name, version in (others | lowest).items())


if __name__ == "__main__":
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "constraints.txt")]
    sys.stdout.write("\n".join(pins(*texts)) + "\n")
