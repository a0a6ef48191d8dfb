"""The archive of all nodes: each node's own report, within bounds; who has none is named."""

from __future__ import annotations

import io
import json
import shlex
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rondo.cli.main import main
from rondo.config.node import NodeConfig
from rondo.node.supervision import RESOLVED_CONFIGURATION
from rondo.report import others, told
from rondo.report.others import Fetching, Other, command_for
from tests.unit.report.test_report import Planted, contents

TWO, THREE = Other(2, "n2", "10.0.0.2"), Other(3, "", "10.0.0.3")


def script(path: Path, text: str) -> str:
    """A command that runs this, with the node and its address as arguments."""
    path.write_text(text)
    return f"sh {shlex.quote(str(path))} {{node}} {{address}}"


@pytest.fixture(name="planted")
def _planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planted:
    """Node 1 of three, whose gateway does not run; secrets are everywhere in it."""
    (tmp_path / "n1").mkdir()
    planted = Planted(tmp_path / "n1", with_key_option=True)
    path = planted.run_dir / RESOLVED_CONFIGURATION
    config = NodeConfig.read(path)
    members: dict[int, tuple[str, ...]] = {1: ("127.0.0.1",), 2: ("10.0.0.2",), 3: ("10.0.0.3",)}
    replace(config, members=members, node_names={1: "n1", 2: "n2", 3: ""}).save(path)
    monkeypatch.setattr(told, "CONNECT_S", 0.1)
    return planted


def test_each_node_makes_its_own_report_and_cuts_its_own_secrets(
    planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Node 2 has other secrets than node 1, which could not cut them. Node 3 lets nobody in."""
    (tmp_path / "n2").mkdir()
    second = Planted(tmp_path / "n2", with_key_option=True)
    rondo = f"{shlex.quote(sys.executable)} -m rondo.cli.main"
    via = script(
        tmp_path / "via",
        f'[ "$1 $2" = "2 10.0.0.2" ] || {{ echo "$2: Permission denied" >&2; exit 255; }}\n'
        f"exec {rondo} report -o - --run-dir {shlex.quote(str(second.run_dir))}\n",
    )
    archive = tmp_path / "all.tar.gz"
    command = ["report", "--all", "--via", via, "--run-dir", str(planted.run_dir), "-o", str(archive)]
    assert main(command) == 0
    found = contents(archive)
    inner_path = tmp_path / "inner.tar.gz"
    inner_path.write_bytes(found.pop("nodes/2.tar.gz"))
    inner = contents(inner_path)
    assert {"log/totem.log", "status.json", "about.json"} <= inner.keys() & found.keys()
    for form in [*planted.forms(), *second.forms()]:
        for name, data in [*found.items(), *inner.items()]:
            assert form not in data, f"{name} has {form[:16]!r}..."
    assert inner["log/totem.log"] != b""
    (missing,) = json.loads(found["nodes/missing.json"])
    assert missing["node"] == 3
    assert missing["why"] == "sh ended with 255: 10.0.0.3: Permission denied"
    warning = capsys.readouterr().err
    assert "no report of node 3: sh ended with 255: 10.0.0.3: Permission denied; in the archive is nothing" in warning
    assert "node 2" not in warning


def test_a_secret_in_what_a_command_says_is_cut(planted: Planted, tmp_path: Path) -> None:
    via = script(tmp_path / "via", f"echo the key is {planted.key.hex()} >&2; exit 1\n")
    archive = tmp_path / "all.tar.gz"
    assert main(["report", "--all", "--via", via, "--run-dir", str(planted.run_dir), "-o", str(archive)]) == 0
    text = contents(archive)["nodes/missing.json"]
    assert b"the key is [left out]" in text
    assert planted.key.hex().encode() not in text


def fetched(via: str, *which: Other, **bounds: float) -> dict[int, tuple[int, str]]:
    """Of each node how long its archive is, and why there is none."""
    fetching = Fetching(via, **bounds)  # type: ignore[arg-type]
    return {each.other.node: (len(each.archive), each.failure) for each in fetching.all_of(which)}


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    via = script(tmp_path / "via", "echo Welcome to $1\n")
    assert fetched(via, TWO) == {2: (0, "sh gave no archive")}
    assert fetched("/nowhere/ssh {address}", TWO)[2][1].endswith("No such file or directory: '/nowhere/ssh'")
    assert fetched(via, Other(4, "n4", "")) == {4: (0, "its address is not known")}


def test_a_report_that_is_too_long_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its command, which would go on for ever, is ended with all that it has started."""
    monkeypatch.setattr(others, "NODE_BYTES_MAX", 1 << 20)
    via = script(tmp_path / "via", f"cat {archive_of(tmp_path)}; [ $1 = 3 ] || {{ yes | cat; }}\n")
    found = fetched(via, TWO, THREE)
    assert found[2] == (0, f"its report has more than {1 << 20} bytes")
    assert found[3][1] == ""


def test_all_reports_together_have_a_bound(tmp_path: Path) -> None:
    size = len(made())
    via = script(tmp_path / "via", f"cat {archive_of(tmp_path)}\n")
    nodes = [Other(node, "", "10.0.0.1") for node in range(2, 12)]
    found = fetched(via, *nodes, all_bytes_max=5 * size)
    assert sum(length for length, _ in found.values()) <= 5 * size
    assert found[2] == (size, "")
    assert "its report has more than" in found[11][1]


def test_a_command_that_hangs_is_ended(tmp_path: Path) -> None:
    via = script(tmp_path / "via", f"cat {archive_of(tmp_path)}; sleep 600 | cat\n")
    began_s = time.monotonic()
    assert fetched(via, TWO, timeout_s=0.3) == {2: (0, "sh had not ended after 0.3 s")}
    assert time.monotonic() - began_s < 60


def test_who_is_interrupted_ends_the_commands(tmp_path: Path) -> None:
    via = script(tmp_path / "via", f"[ $1 = 2 ] || exec sleep 600; cat {archive_of(tmp_path)}\n")
    running = Fetching(via).all_of([TWO, THREE])
    next(running)
    began_s = time.monotonic()
    running.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began_s < 30


def made() -> bytes:
    """A small archive."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz"):
        pass
    return file.getvalue()


def archive_of(directory: Path) -> str:
    path = directory / "one.tar.gz"
    path.write_bytes(made())
    return shlex.quote(str(path))


@pytest.mark.parametrize("via", ["ssh {host}", "ssh {address", "ssh 'x", "", "ssh {0}"])
def test_a_command_that_cannot_be_meant(planted: Planted, via: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--all", "--via", via, "--run-dir", str(planted.run_dir)]) == 1
    assert "--via: " in capsys.readouterr().err


def test_the_default_is_ssh() -> None:
    assert command_for(others.VIA, TWO)[:1] + command_for(others.VIA, TWO)[-5:] == [
        "ssh", "10.0.0.2", "rondo", "report", "-o", "-",
    ]  # fmt: skip


def test_how_to_get_there_is_for_all(planted: Planted, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--via", "ssh {address}", "--run-dir", str(planted.run_dir)]) == 1
    assert "--all" in capsys.readouterr().err
