"""What is refused before supervisord is started, in words that help."""

import resource
from pathlib import Path

import pytest

from rondo.cli.output import CommandError
from rondo.node.supervision.launch import FILES_MIN, PROCESSES_MIN, make_run_dir
from rondo.paths import PathError


@pytest.mark.parametrize("name", ["50%", "%(here)s", "a\nb", "a\x1b[31m"])
def test_a_path_that_supervisord_cannot_take(tmp_path: Path, name: str) -> None:
    with pytest.raises(PathError, match=r"supervisord does not accept .* in a path; choose another run directory"):
        make_run_dir(f"/tmp/{name}")
    assert not (Path("/tmp") / name).exists()


@pytest.mark.parametrize("name", ["a b", "a,b", "c;d", "e#f", "g'h", "ü"])
def test_other_odd_paths_are_taken(tmp_path: Path, name: str) -> None:
    assert make_run_dir(tmp_path / name).is_dir()


@pytest.mark.parametrize(
    ("kind", "least", "text"),
    [
        (resource.RLIMIT_NOFILE, FILES_MIN, "open files and a node needs 256; raise the limit (ulimit -n, or"),
        (resource.RLIMIT_NPROC, PROCESSES_MIN, "processes and a node needs 16; raise the limit (ulimit -u, or"),
    ],
)
def test_limits_that_are_too_low(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int, least: int, text: str
) -> None:
    limits = {kind: least - 1}
    monkeypatch.setattr(resource, "getrlimit", lambda asked: (0, limits.get(asked, resource.RLIM_INFINITY)))
    with pytest.raises(CommandError) as caught:
        make_run_dir(tmp_path / "run")
    assert str(caught.value).startswith(f"this user may have {least - 1} ")
    assert text in str(caught.value)
    assert not (tmp_path / "run").exists()
    limits[kind] = least
    assert make_run_dir(tmp_path / "run").is_dir()
