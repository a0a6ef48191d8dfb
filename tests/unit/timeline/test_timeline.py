"""Events: every one is a line that the source writes, and is found in logs of any form, over restarts."""

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rondo.cli.main import main
from rondo.node.supervision.logfiles import Line, MergedLog
from rondo.timeline.events import event_of
from rondo.timeline.kinds import KINDS, Kind
from rondo.timeline.reference import reference
from services.totem.logtext import LogText
from services.totem.ring.events import RegularConfiguration
from services.totem.wire.base import RingId

ROOT = Path(__file__).parents[3]
_PLACEHOLDERS = re.compile(r"%0?(?:\d*\.\d+)?(?:\d+)?[sdfx]|\{[^{}]+\}")


def line(text: str, source: str = "totem", head: str = "2026-11-22T16:00:01.123+01:00 notice  [TOTEM ] ") -> Line:
    return Line(1_795_000_000.5, source, 1, head + text)


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_an_example_is_its_own_event_and_no_other(kind: Kind) -> None:
    found = event_of(line(kind.example, kind.source))
    assert found is not None
    assert found.name == kind.name
    of_source = [each for each in KINDS if each.source == kind.source]
    assert [each.name for each in of_source if re.fullmatch(each.pattern, kind.example)] == [kind.name]
    assert all(value not in ("", []) for value in found.detail.values())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.written_in], ids=lambda kind: kind.name)
def test_the_source_writes_such_a_line(kind: Kind) -> None:
    source = (ROOT / kind.written_in).read_text(encoding="utf-8")
    assert f'"{kind.words}' in source
    parts = [re.escape(part) for part in _PLACEHOLDERS.split(kind.words)]
    assert re.match(".*".join(parts), kind.example), kind.words


def test_names_are_given_once() -> None:
    names = [kind.name for kind in KINDS]
    assert len(set(names)) == len(names)


def test_a_ring_that_the_ring_process_logs_is_an_event(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    text = LogText()
    text.tell(RegularConfiguration(RingId(1, 8), (1, 2), (2,), ()), 0)
    text.tell(RegularConfiguration(RingId(1, 12), (1,), (), (2,)), 10**12)
    first, second = (event_of(line(record.getMessage())) for record in caplog.records)
    assert first is not None
    assert second is not None
    assert first.detail == {"ring": "1.8", "joined": [1, 2], "left": []}
    assert second.detail == {"ring": "1.c", "joined": [], "left": [2]}


@pytest.mark.parametrize(
    "head",
    [
        "2026-11-22T16:00:01.123+01:00 info    [TOTEM ] ",
        "2026-11-22T16:00:01+01:00 info    [TOTEM ] ",
        "2026-11-22T16:00:01.123+01:00 [77] alpha rondo info    [TOTEM ] ",
        "info    [TOTEM ] ",
    ],
)
def test_every_form_of_a_line(head: str) -> None:
    found = event_of(line("Node 3 leaves.", head=head))
    assert found is not None
    assert (found.name, found.level, found.detail) == ("node.leaves", "info", {"node": 3})


def test_a_line_that_stands_for_several_is_an_event_too() -> None:
    found = event_of(line("Token has not been received in 750 ms (12 such lines were left out)"))
    assert found is not None
    assert found.detail == {"ms": 750.0}


@pytest.mark.parametrize("text", ["", "no log line", "2026-11-22T16:00:01.123+01:00 notice  [TOTEM ] something else"])
def test_other_lines_are_no_events(text: str) -> None:
    assert event_of(Line(0.0, "totem", 1, text)) is None


def test_an_event_belongs_to_its_process() -> None:
    assert event_of(line("Node 3 leaves.", source="cpg")) is None


def test_the_reference_is_current() -> None:
    stored = (ROOT / "docs/EVENTS.md").read_text(encoding="utf-8")
    assert stored == reference(), "run: python -m rondo.timeline.reference > docs/EVENTS.md"


def logs(run_dir: Path) -> None:
    """Of two lives of a node: the former in a file that was rotated."""
    (run_dir / "log").mkdir()
    (run_dir / "log/totem.log.1").write_text(
        "2026-11-22T16:00:01.000+00:00 notice  [TOTEM ] A new membership (1.8) was formed. Members joined: 1 2\n"
        "2026-11-22T16:00:03.000+00:00 notice  [MAIN  ] Left the ring.\n"
    )
    (run_dir / "log/totem.log").write_text("2026-11-22T17:00:00.000+00:00 info    [TOTEM ] Node 3 leaves.\n")
    (run_dir / "log/supervisord.log").write_text("2026-11-22 16:00:02,000 INFO spawned: 'cpg' with pid 77\n")
    (run_dir / "log/control.log").write_text("2026-11-22T16:00:02.500+00:00 notice  [CONTROL] Waiting for the ring.\n")


def test_the_command_prints_the_time_line_of_all_processes_and_lives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs(tmp_path)
    assert main(["events", "--json", "--run-dir", str(tmp_path)]) == 0
    found = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
    assert [each["event"] for each in found if each["source"] == "totem"] == ["ring.formed", "node.left", "node.leaves"]
    assert any(each["event"] == "process.started" and each["detail"] == {"process": "cpg", "pid": 77} for each in found)
    assert len(found) == 4
    assert main(["events", "-n", "1", "--run-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.split()[1:3] == ["node.leaves", "Node"]


def test_what_comes_later_is_an_event_when_it_comes(tmp_path: Path) -> None:
    logs(tmp_path)
    log = MergedLog({"totem": [tmp_path / "log/totem.log"]})
    assert [event.name for each in log.read() if (event := event_of(each))] == ["node.leaves"]
    with (tmp_path / "log/totem.log").open("a") as file:
        file.write("2026-11-22T17:00:01.000+00:00 error   [TOTEM ] FAILED TO RECEIVE\n")
    assert [event.name for each in log.read() if (event := event_of(each))] == ["ring.failed_to_receive"]


def test_following_goes_on_over_restarts_of_the_node(tmp_path: Path) -> None:
    """What was before, what comes, and what comes into a new file after the old one was put aside; each once."""
    logs(tmp_path)
    log, argv = tmp_path / "log/totem.log", ["events", "-f", "--json", "--run-dir", str(tmp_path)]
    command = [sys.executable, "-m", "rondo.cli.main", *argv]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        names = (json.loads(each)["event"] for each in process.stdout)
        first = [next(names) for _ in range(4)]
        assert first[-1] == "node.leaves"
        with log.open("a") as file:
            file.write("2026-11-22T17:00:01.000+00:00 error   [TOTEM ] FAILED TO RECEIVE\n")
        assert next(names) == "ring.failed_to_receive"
        log.rename(tmp_path / "log/totem.log.1")
        log.write_text(
            "2026-11-22T18:00:01.000+00:00 notice  [TOTEM ] A new membership (1.10) was formed. Members joined: 1\n"
        )
        assert next(names) == "ring.formed"
        process.kill()


def test_where_no_node_ran_the_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "--run-dir", str(tmp_path)]) == 1
    assert "no node has run here" in capsys.readouterr().err
