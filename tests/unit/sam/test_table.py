"""What a restarted SAM finds of its applications."""

from pathlib import Path

import pytest

from services.sam.application import Application, Command, End, Owner, Phase, Policy, State
from services.sam.table import Table


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path)


def application(table: Table) -> Application:
    command = Command(b"sh", [b"sh", b"-c", b"\xff"], b"/tmp", [b"PATH=/bin", b"B=\xfe"], 0o027)
    made = Application(table.new_id("sh"), Owner(1, 2, (3, 4)), command, Policy.QUIT, 500, 15, b"/check", b"key")
    made.phase, made.state, made.instance, made.pid, made.start_time = Phase.RUNNING, State.REGISTERED, 3, 77, 88
    made.is_watched, made.registers, made.boot = True, True, "boot"
    made.history.append(End(2, 66, -9, "hung", "was ended by SIGKILL", 1000, 5.0))
    return made


def test_everything_that_matters_comes_back(table: Table, tmp_path: Path) -> None:
    saved = application(table)
    saved.heard_at_s, saved.verdict = 9.0, "hung"
    table.save(saved)
    (loaded,) = Table(tmp_path).load()
    assert loaded.as_json() == saved.as_json()
    assert (loaded.command, loaded.owner, loaded.key, loaded.check) == (saved.command, saved.owner, b"key", b"/check")
    assert (loaded.phase, loaded.pid, loaded.start_time, loaded.boot) == (Phase.RUNNING, 77, 88, "boot")
    assert (loaded.heard_at_s, loaded.verdict) == (0.0, ""), "what another SAM's clock said means nothing"


def test_identifiers_do_not_repeat(table: Table, tmp_path: Path) -> None:
    first = application(table)
    table.save(first)
    assert first.id == "sh-1"
    again = Table(tmp_path)
    again.load()
    assert again.new_id("sh") == "sh-2"
    again.remove("sh-1")
    last = Table(tmp_path)
    last.load()
    assert last.new_id("x") == "x-3"


def test_data_is_kept_and_goes_with_its_application(table: Table, tmp_path: Path) -> None:
    saved = application(table)
    table.save(saved)
    assert table.restore(saved.id) == b""
    table.store(saved.id, b"\0data")
    assert Table(tmp_path).restore(saved.id) == b"\0data"
    table.remove(saved.id)
    assert table.restore(saved.id) == b""
    assert Table(tmp_path).load() == []


@pytest.mark.parametrize("damage", [b"", b"\xc1", b"\x80", b"\x81\xa6format\x01", b"\x93\x01\x02\x03"])
def test_a_damaged_file_is_left_out_and_the_others_are_not(table: Table, tmp_path: Path, damage: bytes) -> None:
    table.save(application(table))
    (tmp_path / "sam" / "broken-7.app").write_bytes(damage)
    again = Table(tmp_path)
    assert [each.id for each in again.load()] == ["sh-1"]
    assert again.errors == 1


def test_half_a_file_is_left_out_at_every_length(table: Table, tmp_path: Path) -> None:
    table.save(application(table))
    path = tmp_path / "sam" / "sh-1.app"
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        assert Table(tmp_path).load() == []


def test_a_disk_that_takes_nothing_does_not_stop_sam(table: Table, tmp_path: Path) -> None:
    saved = application(table)
    (tmp_path / "sam" / f".{saved.id}.app").mkdir()
    table.save(saved)
    assert table.errors == 1


def test_half_a_file_is_not_left_where_there_is_no_room(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = application(table)
    table.save(saved)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    saved.instance = 9
    table.save(saved)
    assert table.errors == 1
    assert not [each for each in (tmp_path / "sam").iterdir() if each.name.startswith(".")]
    monkeypatch.undo()
    table.save(saved)
    assert Table(tmp_path).load()[0].instance == 9
