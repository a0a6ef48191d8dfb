"""Where things lie, and what keeps a directory from being used."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rondo import paths


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "COROSYNC_MAIN_CONFIG_FILE",
        "COROSYNC_TOTEM_AUTHKEY_FILE",
        "RONDO_RUN_DIR",
        "RONDO_STATE_DIR",
        "RONDO_SOCKET",
        "XDG_RUNTIME_DIR",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(name="user")
def _user(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an ordinary user, whoever runs the tests."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getuid", lambda: 1000)


@pytest.fixture(name="root")
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "getuid", lambda: 0)


def test_options_win_over_the_environment_and_that_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert paths.config_file() == (Path("/etc/corosync/corosync.conf"), False)
    monkeypatch.setenv("COROSYNC_MAIN_CONFIG_FILE", "/env/c")
    assert paths.config_file() == (Path("/env/c"), True)
    assert paths.config_file("/option/c") == (Path("/option/c"), True)
    assert paths.key_file() == Path("/etc/corosync/authkey")
    monkeypatch.setenv("COROSYNC_TOTEM_AUTHKEY_FILE", "/env/k")
    assert paths.key_file() == Path("/env/k")
    assert paths.key_file("/option/k") == Path("/option/k")
    monkeypatch.setenv("RONDO_RUN_DIR", "/env/run")
    assert paths.run_dir() == Path("/env/run")
    assert paths.run_dir("/option/run") == Path("/option/run")


def test_relative_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert paths.run_dir("run") == tmp_path / "run"
    assert paths.config_file("../c")[0] == tmp_path.parent / "c"


@pytest.mark.usefixtures("root")
def test_places_of_root() -> None:
    assert (paths.run_dir(), paths.state_dir()) == (Path("/run/rondo"), Path("/var/lib/rondo"))


@pytest.mark.usefixtures("user")
def test_places_of_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert paths.state_dir() == Path("/home/ada/.local/state/rondo")
    assert paths.state_dir(configured="/from/file") == Path("/from/file")
    assert paths.run_dir() == Path("/tmp/rondo-1000")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    assert paths.run_dir() == Path("/tmp/rondo-1000")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert paths.run_dir() == Path("/run/user/1000/rondo")


def test_the_endpoint_of_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RONDO_RUN_DIR", "/env/run")
    assert paths.client_socket() == "ipc:///env/run/gateway.sock"
    monkeypatch.setenv("RONDO_SOCKET", "tcp://127.0.0.1:1")
    assert paths.client_socket() == "tcp://127.0.0.1:1"
    assert paths.client_socket(run_dir_option="/option/run") == "ipc:///option/run/gateway.sock"
    assert paths.client_socket("ipc:///option/socket", "/option/run") == "ipc:///option/socket"


def test_a_socket_path_that_the_system_has_no_room_for() -> None:
    longest = Path("/" + "d" * (paths.SOCKET_PATH_BYTES_MAX - len("//s.sock")))
    assert paths.socket_endpoint(longest, "s.sock") == f"ipc://{longest}/s.sock"
    with pytest.raises(paths.PathError, match="at most 107 bytes, this one 108; choose a shorter run directory"):
        paths.socket_endpoint(longest, "ss.sock")
    with pytest.raises(paths.PathError):
        paths.client_socket(run_dir_option="/" + "é" * 60)


def test_directories_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "run"
    assert paths.make_run_dir(path) == path
    assert paths.make_run_dir(path) == path
    assert path.stat().st_mode & 0o022 == 0
    assert paths.make_state_dir(tmp_path / "state").is_dir()


@pytest.mark.root
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_whom_uidgid_admits_can_enter_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """Root's run directory, and what had to be made for it; the state directory is as closed as the umask wants it."""
    before = os.umask(umask)
    try:
        path = paths.make_run_dir(tmp_path / "a" / "run")
        state = paths.make_state_dir(tmp_path / "state")
        assert os.umask(umask) == umask, "it is as before"
    finally:
        os.umask(before)
    assert [each.stat().st_mode & 0o777 for each in (path, path.parent)] == [0o755, 0o755]
    assert state.stat().st_mode & umask == 0


def test_others_cannot_write_what_was_made_whatever_the_umask(tmp_path: Path) -> None:
    """Who may write to a directory above can put another state, or another socket, in the place of ours."""
    before = os.umask(0)
    try:
        made = [paths.make_run_dir(tmp_path / "a" / "run"), paths.make_state_dir(tmp_path / "b" / "state")]
        assert os.umask(0) == 0, "it is as before"
    finally:
        os.umask(before)
    for each in made:
        assert each.stat().st_mode & 0o022 == each.parent.stat().st_mode & 0o022 == 0


def test_directories_that_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(paths.PathError, match="not a directory; remove it, or set RONDO_RUN_DIR"):
        paths.make_run_dir(file)
    with pytest.raises(paths.PathError, match="cannot be made: Not a directory"):
        paths.make_run_dir(file / "below")
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(paths.PathError, match="everybody may write to it; chmod o-w"):
        paths.make_run_dir(shared)


@pytest.fixture(name="in_tmp")
def _in_tmp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The directory that is taken in /tmp, at a place that a test may spoil."""
    path = tmp_path / "rondo-uid"
    monkeypatch.setattr(paths, "run_dir_in_tmp", lambda: path)
    monkeypatch.setattr(paths, "run_dir", lambda option=None: path)
    return path


def test_the_directory_in_tmp_is_private(in_tmp: Path) -> None:
    paths.make_run_dir()
    assert in_tmp.stat().st_mode & 0o777 == 0o700
    in_tmp.chmod(0o750)
    with pytest.raises(paths.PathError, match="others may enter it; chmod 0700"):
        paths.make_run_dir()


def test_the_directory_in_tmp_is_no_link_of_somebody(in_tmp: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    in_tmp.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(paths.PathError, match="not a directory but a link"):
        paths.make_run_dir()


def test_a_directory_of_another_user(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_tmp.mkdir(mode=0o700)
    owner = in_tmp.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(paths.PathError, match=f"belongs to user {owner}"):
        paths.make_run_dir()


@pytest.mark.parametrize(
    ("look", "what"),
    [
        (paths.config_file, "configuration"),
        (paths.key_file, "key file"),
        (paths.run_dir, "run directory"),
        (paths.make_run_dir, "run directory"),
        (paths.state_dir, "state directory"),
        (paths.make_state_dir, "state directory"),
        (paths.client_socket, "socket"),
    ],
)
def test_an_option_that_is_empty_is_not_the_default(
    look: Callable[[str], object], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell's variable that is not set would lead `rondo stop` to another node."""
    for name in ("RONDO_RUN_DIR", "RONDO_STATE_DIR", "RONDO_SOCKET", "COROSYNC_TOTEM_AUTHKEY_FILE"):
        monkeypatch.setenv(name, "/env")
    with pytest.raises(paths.PathError, match=f"the {what} that was given is an empty text"):
        look("")
