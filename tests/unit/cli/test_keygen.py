"""`rondo keygen`."""

import json
import stat
from pathlib import Path

import pytest

from rondo.cli.main import main
from rondo.config.key import fingerprint, write_key
from rondo.curve import read_key_pair


@pytest.fixture(name="key_file")
def _key_file(tmp_path: Path) -> Path:
    return tmp_path / "authkey"


def test_a_key_is_random_private_and_not_shown(key_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen", "--key-file", str(key_file)]) == 0
    key = key_file.read_bytes()
    assert len(key) == 256
    assert len(set(key)) > 100
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o400
    output = capsys.readouterr().out
    assert output == f"{key_file}: 256 bytes, fingerprint {fingerprint(key)}; copy it to all nodes\n"
    assert key.hex() not in output
    assert [entry.name for entry in key_file.parent.iterdir()] == ["authkey"]


def test_a_key_is_only_overwritten_by_force(key_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_key(key_file)
    assert main(["keygen", "--key-file", str(key_file)]) == 1
    assert "there is a file already" in capsys.readouterr().err
    assert key_file.read_bytes() == first
    assert main(["keygen", "--key-file", str(key_file), "--force", "--bytes", "128", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    second = key_file.read_bytes()
    assert second != first
    assert told == {"key_file": str(key_file), "bytes": 128, "fingerprint": fingerprint(second)}
    assert [entry.name for entry in key_file.parent.iterdir()] == ["authkey"]


@pytest.mark.parametrize(("size", "code"), [("127", 2), ("128", 0), ("4096", 0), ("4097", 2), ("-1", 2), ("1e3", 2)])
def test_sizes(key_file: Path, size: str, code: int) -> None:
    assert main(["keygen", "--key-file", str(key_file), f"--bytes={size}"]) == code
    assert key_file.exists() == (code == 0)
    if code == 0:
        assert key_file.stat().st_size == int(size)


def test_a_place_by_the_environment(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COROSYNC_TOTEM_AUTHKEY_FILE", str(key_file))
    assert main(["keygen"]) == 0
    assert key_file.exists()


def test_places_that_cannot_hold_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen", "--key-file", str(tmp_path / "none" / "authkey")]) == 1
    assert f"the directory {tmp_path}/none does not exist; make it" in capsys.readouterr().err
    assert main(["keygen", "--key-file", str(tmp_path), "--force"]) == 1
    assert "Is a directory; use --key-file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_fingerprints_tell_keys_apart() -> None:
    assert fingerprint(b"a" * 128) == fingerprint(b"a" * 128)
    assert fingerprint(b"a" * 128) != fingerprint(b"a" * 127 + b"b")
    assert len(fingerprint(b"a" * 128)) == 39


def test_a_curve_key_pair(key_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen", "--curve", "--key-file", str(key_file), "--json"]) == 0
    pair = read_key_pair(key_file)
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o400
    output = capsys.readouterr().out
    assert json.loads(output) == {"key_file": str(key_file), "public_key": pair.public.hex()}
    assert pair.secret.hex() not in output
    assert main(["keygen", "--curve", "--key-file", str(key_file)]) == 1
    assert "use --force" in capsys.readouterr().err
    assert main(["keygen", "--curve"]) == 1
    assert "say where to write" in capsys.readouterr().err
    assert main(["keygen", "--curve", "--bytes", "256", "--key-file", str(key_file)]) == 2
