"""The demo runs the example that users read, and no copy of it."""

from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_ledger_of_the_demo_is_the_example() -> None:
    assert (ROOT / "rondo/demo/replicated_ledger.py").samefile(ROOT / "examples/replicated_ledger.py")
