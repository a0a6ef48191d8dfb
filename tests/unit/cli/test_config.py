"""`rondo config check` and `rondo config show`."""

import json
from pathlib import Path

import pytest

from rondo.cli.main import main

GOOD = """totem {
 transport: udpu
 token: 1000
 key: %s
}
nodelist {
 node {
  nodeid: 1
  ring0_addr: 127.0.0.1
 }
 node {
  nodeid: 2
  ring0_addr: 127.0.0.2
 }
 node {
  nodeid: 3
  ring0_addr: 127.0.0.3
 }
}
""" % ("secret" * 30)


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    file = tmp_path / "corosync.conf"
    file.write_text(GOOD)
    return file


def test_a_good_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", "-c", str(file), "--nodeid", "2"]) == 0
    assert capsys.readouterr() == (f"{file}: no errors\n", "")


def test_warnings_do_not_fail(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD + "quorum {\n}\n")
    assert main(["config", "check", "-c", str(file), "--nodeid", "2"]) == 0
    output = capsys.readouterr()
    assert output.out == f"{file}: no errors, 1 warning\n"
    assert output.err.startswith(f"warning: {file}:20: quorum: has no effect: ")


def test_each_fault_is_a_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD.replace("1000", "x").replace("nodeid: 2", "nodeid: 0"))
    assert main(["config", "check", "-c", str(file)]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert [line.split(": ")[1:3] for line in output.err.splitlines()] == [
        [f"{file}:3", "totem.token"],
        [f"{file}:12", "nodelist.node.nodeid"],
    ]


def test_more_faults_than_anybody_reads_are_counted(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("totem {\ntransport: udpu\n}\nnodelist {\n" + "node {\nnodeid: 0\nring0_addr: x\n}\n" * 50 + "}\n")
    assert main(["config", "check", "-c", str(file)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "error: and 30 more of these"


@pytest.mark.parametrize("action", ["check", "show"])
def test_files_that_cannot_be_read(action: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (tmp_path, tmp_path / "none", tmp_path / ("x" * 300)):
        assert main(["config", action, "-c", str(path)]) == 1
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith(f"error: {tmp_path}")
        assert output.err.count("\n") == 1


def test_what_is_in_force(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "-c", str(file), "--nodeid", "2"]) == 0
    output = capsys.readouterr().out
    assert "secret" not in output
    lines = {tuple(line.split()) for line in output.splitlines()}
    assert ("node_id", "2") in lines
    assert ("token_timeout_ms", "1650") in lines
    assert ("consensus_timeout_ms", "1980") in lines
    assert ("totem.token", "1000", "ms", "line", "3") in lines
    assert ("totem.join", "50", "ms", "default") in lines


def test_what_is_in_force_as_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "-c", str(file), "--nodeid", "2", "--json"]) == 0
    output = capsys.readouterr().out
    assert "secretsecret" not in output
    shown = json.loads(output)
    assert shown["file"] == str(file)
    assert shown["node"]["token_retransmit_ms"] == 392
    assert shown["node"]["members"]["3"] == ["127.0.0.3"]
    assert shown["options"]["totem.token"] == {"value": 1000, "unit": "ms", "source": "line 3"}
    assert shown["options"]["nodelist.node[1].nodeid"]["value"] == 2
    assert shown["warnings"] == []


def test_a_file_for_other_machines_can_be_looked_at(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD.replace("127.0.0.", "192.0.2.10"))
    assert main(["config", "show", "-c", str(file)]) == 0
    output = capsys.readouterr()
    assert "taken for node 1 here" in output.err
    assert ["local_address", "192.0.2.101"] in [line.split() for line in output.out.splitlines()]


def test_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("COROSYNC_MAIN_CONFIG_FILE", raising=False)
    monkeypatch.setattr("rondo.paths.CONFIG_FILE_DEFAULT", str(tmp_path / "none"))
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().out == "no configuration file, a single node on loopback: no errors\n"


@pytest.mark.parametrize("text", ["0", "x", "-1", "4294967296", "²"])
def test_a_node_identifier_that_is_none(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", f"--nodeid={text}"]) == 2
    assert f"'{text}' is not a node identifier" in capsys.readouterr().err
