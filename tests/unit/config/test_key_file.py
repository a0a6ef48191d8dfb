"""A key is read only from a file that keeps it secret, and what is wrong with one is said in one line."""

import os
import stat
from pathlib import Path

import pytest

from rondo.config.key import KEY_BYTES_MAX, KEY_BYTES_MIN, KeyFileError, read_key, write_key


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "authkey"
    key = write_key(path)
    assert read_key(path) == key
    for mode in (0o400, 0o600, 0o700):
        path.chmod(mode)
        assert read_key(path) == key
    link = tmp_path / "link"
    link.symlink_to(path)
    assert read_key(link) == key


def test_a_missing_key_names_keygen(tmp_path: Path) -> None:
    with pytest.raises(
        KeyFileError, match=r"authkey: there is no key; make a key with: rondo keygen --key-file .*authkey"
    ):
        read_key(tmp_path / "authkey")


@pytest.mark.parametrize("mode", [0o404, 0o444, 0o440, 0o420, 0o402, 0o644, 0o401])
def test_others_must_not_have_access(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "authkey"
    write_key(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"others have access to the key .mode 0{mode:o}.; chmod 400 "):
        read_key(path)


@pytest.mark.parametrize("size", [0, 1, KEY_BYTES_MIN - 1, KEY_BYTES_MAX + 1, 10 * KEY_BYTES_MAX])
def test_its_size(tmp_path: Path, size: int) -> None:
    path = tmp_path / "authkey"
    path.write_bytes(bytes(size))
    path.chmod(0o400)
    with pytest.raises(KeyFileError, match="a key has 128 to 4096 bytes, this file"):
        read_key(path)


@pytest.mark.parametrize("size", [KEY_BYTES_MIN, KEY_BYTES_MAX])
def test_the_edges_of_its_size(tmp_path: Path, size: int) -> None:
    path = tmp_path / "authkey"
    path.write_bytes(bytes(size))
    path.chmod(0o400)
    assert len(read_key(path)) == size


def test_only_regular_files(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o400)
    for path in (fifo, tmp_path, Path("/dev/zero")):
        with pytest.raises(KeyFileError, match="the key is not a regular file"):
            read_key(path)


def stat_result(uid: int, mode: int) -> os.stat_result:
    """What fstat() says of a file of another user, which a test without root cannot make."""
    return os.stat_result((stat.S_IFREG | mode, 1, 1, 1, uid, 0, 256, 0, 0, 0))


@pytest.mark.parametrize(
    ("user", "owner", "mode", "fine"),
    [
        (0, 0, 0o400, True), (0, 0, 0o440, False), (1000, 0, 0o440, True), (1000, 0, 0o460, False),
        (1000, 0, 0o444, False), (1000, 1000, 0o440, False), (1000, 1001, 0o400, False), (0, 1000, 0o400, False),
    ],
)  # fmt: skip
def test_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, owner: int, mode: int, fine: bool
) -> None:
    path = tmp_path / "authkey"
    key = write_key(path)
    found = stat_result(owner, mode)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os, "fstat", lambda _descriptor: found)
    if fine:
        assert read_key(path) == key
    else:
        with pytest.raises(KeyFileError, match=r"the key belongs to user|others have access"):
            read_key(path)
