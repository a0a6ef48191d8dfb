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


def test_who_reads_it_again_and_again_has_the_newest(tmp_path: Path) -> None:
    """And no other than that is read: what was read is the same object."""
    kept = record.Kept(tmp_path)
    assert kept.read() == record.Record()
    written = record.Record({"cpg": 0})
    for count in range(1, 10):
        written.restarts["cpg"] = count
        written.save(tmp_path)
        assert kept.read() == written
        assert kept.read() is kept.read()
    record.forget(tmp_path)
    assert kept.read() == record.Record()
    written.save(tmp_path)
    assert kept.read() == written
