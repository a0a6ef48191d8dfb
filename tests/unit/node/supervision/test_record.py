"""What the plugin writes down for the commands."""

from pathlib import Path

import pytest

from rondo.node.supervision import record


def test_what_was_written_is_read(tmp_path: Path) -> None:
    written = record.Record({"totem": 3, "cpg": 0}, {"cpg": "2026 was killed"}, "totem exited with 8: no such key")
    written.off, written.given_up = {"qb_gateway": "system.qb_ipc is no"}, ["web"]
    written.save(tmp_path)
    assert record.read(tmp_path) == written
    record.forget(tmp_path)
    assert record.read(tmp_path) == record.Record()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"restarts": 5}', '{"restarts": {"totem": "x"}, "failure": null}', '{"given_up": 7}']
)
def test_a_damaged_record_is_an_empty_one(tmp_path: Path, content: str) -> None:
    (tmp_path / record.FILE_NAME).write_text(content)
    assert record.read(tmp_path) == record.Record()
