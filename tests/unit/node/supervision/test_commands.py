"""The commands of a node where no node runs, and their output."""

import json
import socket
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from rondo.cli.commands._report import report
from rondo.cli.commands.debug import lines
from rondo.cli.main import main
from rondo.config import resolve
from rondo.config.reader import load_text
from rondo.node.supervision import RESOLVED_CONFIGURATION, record, survey
from rondo.node.supervision.survey import is_healthy


def test_status_of_no_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--run-dir", str(tmp_path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["state"] == "stopped"
    assert found["ring"] is None
    assert found["services"]["totem"] == {"pid": None, "state": "stopped", "restarts": 0, "last_end": ""}
    assert set(found) >= {"node", "state", "ring", "members", "services", "counters"}


def test_status_says_why_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record.Record(failure="totem exited with 8: no key").save(tmp_path)
    assert main(["status", "--run-dir", str(tmp_path)]) == 1
    assert "it stopped: totem exited with 8: no key" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["wait", "--members", "1", "--timeout", "0.1"], "the node does not answer"),
        (["debug", "totem"], "totem is not running"),
        (["logs"], "no node has run here"),
    ],
)
def test_where_no_node_runs_the_commands_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    assert main([*arguments, "--run-dir", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert text in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["cpg", "groups"], ["cpg", "join", "g"], ["bench", "latency"]])
@pytest.mark.parametrize("left", [False, True], ids=["no socket", "a dead node's socket"])
def test_a_node_that_is_not_there_is_not_waited_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], left: bool
) -> None:
    monkeypatch.setattr("rondo.cli.connecting.CONNECT_TIMEOUT_S", 1000.0)
    with tempfile.TemporaryDirectory(dir="/tmp") as run_dir:
        if left:
            with socket.socket(socket.AF_UNIX) as gateway:
                gateway.bind(f"{run_dir}/gateway.sock")
        assert main([*arguments, "--run-dir", run_dir]) == 1
    err = capsys.readouterr().err
    assert "no node answers" in err
    assert err.count("\n") == 1


def test_stop_where_no_node_runs_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stop", "--run-dir", str(tmp_path)]) == 0
    assert "no node runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["wait"],
        ["wait", "--members", "0"],
        ["wait", "--members", "1", "--timeout", "nan"],
        ["debug"],
        ["debug", "nobody"],
        ["logs", "nobody"],
        ["demo", "--nodes", "1"],
        ["demo", "--nodes", "x"],
        ["demo", "--seconds", "-3"],
        ["start", "--nodeid", "x"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("command", ["start", "stop", "status", "wait", "top", "logs", "debug", "demo"])
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"example: rondo {command}" in capsys.readouterr().out


def test_a_run_directory_whose_sockets_would_have_too_long_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COROSYNC_MAIN_CONFIG_FILE", raising=False)
    run_dir = tmp_path / ("x" * 100)
    config = tmp_path / "corosync.conf"
    config.write_text(
        "totem {\n version: 2\n transport: udpu\n secauth: off\n}\n"
        "nodelist {\n node {\n nodeid: 1\n ring0_addr: 127.0.0.1\n }\n}\n"
    )
    arguments = ["start", "-c", str(config), "--run-dir", str(run_dir), "--state-dir", str(tmp_path / "state")]
    assert main(arguments) == 1
    assert "at most 107 bytes" in capsys.readouterr().err
    assert not run_dir.exists()


def found(**changes: Any) -> dict[str, Any]:
    service = {"pid": 7, "state": "running", "restarts": 2}
    return {
        "node": 1,
        "state": "operational",
        "why": "",
        "ring": {"representative": 1, "sequence": 255, "members": [1, 2]},
        "supervisor": {"pid": 5, "state": "running"},
        "services": {"totem": service},
        "groups": [{"group": "bank", "members": [{"node": 1, "pid": 9}, {"node": 2, "pid": 8}]}],
        "counters": {"totem": {"messages_rx": 100}},
    } | changes


def test_the_report_names_ways_that_lose_packets() -> None:
    paths = {
        "2": {"path": "good", "passes": 1500, "asked": 2},
        "3": {"path": "loses_large", "passes": 1132, "asked": 9},
        "4": {"path": "no_multicast", "passes": 0, "asked": 9},
        "5": {"path": "unknown", "passes": 0, "asked": 9},
    }
    lines = [line for line in report(found(paths=paths)).splitlines() if "the way" in line]
    assert lines == [
        "the way to node 3 loses packets > 1132 bytes: mend it, or set totem.netmtu on all nodes",
        "the way to node 4 loses multicast: mend it, or set totem.transport: udpu on all nodes",
    ]


def test_the_report() -> None:
    text = report(found(counters={"totem": {"messages_rx": 300}}), found(), seconds=2.0)
    assert "node 1: operational" in text
    assert "ring 1.ff, 2 members: 1 2" in text
    assert "totem               7  running               2" in text
    assert "1:9 2:8" in text
    assert "messages in 100" in text


def test_the_report_of_a_node_that_is_down() -> None:
    text = report(found(state="down", ring=None, groups=[], why="no link", node=None), found(), seconds=1.0)
    assert text.startswith("node ?: down (no link)")


def test_the_report_of_many_groups_is_bounded() -> None:
    members = [{"node": 1, "pid": pid} for pid in range(100)]
    groups = [{"group": f"g{index}", "members": members} for index in range(100)]
    text = report(found(groups=groups))
    assert "and 80 more groups" in text
    assert "and 84 more" in text


def test_healthy_is_only_who_does_its_work() -> None:
    assert is_healthy(found())
    assert not is_healthy(found(state="gather"))
    assert not is_healthy(found(supervisor={"pid": None, "state": "stopped"}))
    assert not is_healthy(found(services={"totem": {"pid": 1, "state": "not answering", "restarts": 0}}))


def test_debug_prints_nested_values_one_a_line() -> None:
    value = {"pid": 1, "ring": {"sequence": 2}, "members": [1, 2], "groups": [{"group": "g"}], "none": None, "e": []}
    assert lines(value) == ["pid: 1", "ring.sequence: 2", "members: 1 2", "groups[0].group: g", "none: -", "e: -"]


def absent(node: int, **changes: Any) -> dict[str, Any]:
    since = "2026-02-03T04:05:06+01:00"
    return {"node": node, "name": "", "addresses": [], "since": since, "seen": True, "listens": True} | changes


def test_the_report_names_who_is_absent_and_since_when() -> None:
    away = [
        absent(2, name="beta", addresses=["10.0.0.2", "10.1.0.2"]),
        absent(3, addresses=["10.0.0.3"], seen=False, listens=False),
    ]
    text = report(found(absent=away))
    assert text.splitlines()[2:5] == [
        "2 absent:",
        "  node 2 beta (10.0.0.2, 10.1.0.2) since 2026-02-03T04:05:06+01:00",
        "  node 3 (10.0.0.3) not seen since this node's start, 2026-02-03T04:05:06+01:00; its port is closed: "
        "it does not run, or has another mcastport",
    ]
    lines = report(found(absent=[absent(number) for number in range(100)])).splitlines()
    assert "100 absent:" in lines
    assert "  and 84 more" in lines
    assert "absent" not in report(found(absent=[]))


def test_the_report_names_links_of_knet_and_those_that_are_down_first() -> None:
    link = {
        "link": 0, "remote": "10.0.0.2", "up": True, "since_ms": 1000, "mtu": 1397, "latency_us": 250, "downs": 0,
        "tx_errors": 0, "rx_errors": 0,
    }  # fmt: skip
    down = {"link": 1, "remote": "10.1.0.2", "up": False, "downs": 3, "tx_errors": 4}
    links = {"2": [link, link | down]}
    lines = [line for line in report(found(links=links)).splitlines() if "link" in line]
    assert lines[0] == "links: 1 of 2 up"
    assert lines[1].startswith("  to node 2 link 1 (10.1.0.2) DOWN since 20")
    assert lines[1].endswith(", went down 3 times, 4 + 0 errors")
    assert lines[2].startswith("  to node 2 link 0 (10.0.0.2) up since 20")
    assert lines[2].endswith(", MTU 1397, 0.2 ms")


def test_the_report_names_who_is_refused_and_how_a_service_ended() -> None:
    stranger = {"address": "10.0.0.9", "why": "its node id 9 is not in the nodelist; write it", "seconds_ago": 2.6}
    ended = {"pid": 7, "state": "running", "restarts": 1, "last_end": "2026-02-03T04:05:06+01:00 was killed by SIGKILL"}
    lines = report(found(strangers=[stranger], services={"cpg": ended})).splitlines()
    assert "refused: packets from 10.0.0.9, last 3 s ago: its node id 9 is not in the nodelist; write it" in lines
    assert "last end of cpg: 2026-02-03T04:05:06+01:00 was killed by SIGKILL" in lines


@pytest.mark.parametrize(
    ("supervisor", "state", "lines"),
    [
        ("running", "running", []),
        (
            "stopped",
            "running",
            ["supervisord does not run, so nothing is started again; run `rondo start`"],
        ),
        ("running", "restarting", ["cpg does not run; it is started again; its last end: just now"]),
        ("running", "not answering", ["cpg does not answer; its last end: just now"]),
        ("stopped", "stopped", ["supervisord does not run", "cpg does not run; its last end: just now"]),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_status_says_what_does_not_run_and_fails(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    supervisor: str,
    state: str,
    lines: list[str],
    as_json: bool,
) -> None:
    cpg = {"pid": 7, "state": state, "restarts": 1, "last_end": "just now"}
    seen = found(supervisor={"pid": 5, "state": supervisor}, services={"cpg": cpg})
    monkeypatch.setattr("rondo.node.supervision.survey.status", lambda _run_dir: seen)
    monkeypatch.setattr("rondo.cli.commands.status.SAMPLE_SECONDS", 0.0)
    code = main(["status", "--run-dir", str(tmp_path), *(["--json"] if as_json else [])])
    assert code == (1 if lines else 0)
    said = [] if as_json else lines
    warned = capsys.readouterr().err.splitlines()
    assert [line[: len(f"warning: {text}")] for line, text in zip(warned, said, strict=True)] == [
        f"warning: {text}" for text in said
    ]


def test_status_ties_what_totem_tells_to_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = "".join(
        f" node {{\n nodeid: {number}\n name: {name}\n ring0_addr: 10.0.0.{number}\n }}\n"
        for number, name in ((1, "alpha"), (2, "beta"))
    )
    loaded = load_text(f"totem {{\n transport: udpu\n secauth: off\n}}\nnodelist {{\n{nodes}}}\n", "f", node_id=1)
    resolve(loaded).save(tmp_path / RESOLVED_CONFIGURATION)
    told = {"node": 1, "state": "operational", "absent": [{"node": 2, "seconds": 3600.0, "seen": True}], "deaf": [2]}
    monkeypatch.setattr(survey, "ask_all", lambda _run_dir: {"totem": told, "cpg": None})
    (away,) = survey.status(tmp_path)["absent"]
    since = datetime.fromisoformat(away.pop("since")).timestamp()
    assert abs(time.time() - 3600 - since) < 10
    assert away == {"node": 2, "name": "beta", "addresses": ["10.0.0.2"], "seen": True, "listens": False}
