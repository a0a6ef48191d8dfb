"""The measurements of the parts by themselves run, and what they drive does what they count."""

import json

import pytest

from bench import core


def test_three_rings_deliver_what_one_sends() -> None:
    three = core.RingOfThree()
    three.send(bytes(3000), 7)
    assert three.delivered == {1: 7, 2: 7, 3: 7}


def test_all_parts_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert core.main(["--seconds", "0.001", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    rings = {"ring", "ring gcm", "ring cbc", "ring secret", "form", "form gcm", "form secret"}
    assert {row["part"] for row in rows} == rings | {"packing", "bus", "cpg", "gcm seal", "gcm open"}
    assert all(row["messages_per_second"] > (1 if row["part"].startswith("form") else 10) for row in rows)
