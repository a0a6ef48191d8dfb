"""`rondo sam` as a user types it, with commands that are no good: each has a clear state and message."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rondo.cli.main import main
from services.sam.application import QUICK_ENDS_MAX, QUICK_MS
from tests.sam.bench import ROOT, Bench, eventually


def rondo_sam(
    bench: Bench, *arguments: str, code: int = 0, cwd: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run `rondo sam ARGUMENTS`."""
    environment = os.environ | {"RONDO_RUN_DIR": str(bench.run_dir), "PYTHONPATH": str(ROOT)}
    environment.pop("RONDO_SOCKET", None)
    # A program that is nowhere is "denied" if it might be in a directory that this user may not search.
    environment["PATH"] = os.pathsep.join(each for each in os.get_exec_path() if os.access(each, os.X_OK))
    argv = [sys.executable, "-m", "rondo.cli.main", "sam", *arguments]
    done = subprocess.run(
        argv, cwd=cwd or bench.work, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == (code != 0)
    return done


def test_run_status_logs_stop(bench: Bench) -> None:
    name = rondo_sam(
        bench, "run", "--interval-ms", "700", "--", "sh", "-c", "pwd; echo $A_NAME; exec sleep 1000"
    ).stdout.strip()
    assert name == "sh-1"
    (status,) = json.loads(rondo_sam(bench, "status", "--json").stdout)
    assert {key: status[key] for key in ("id", "state", "instance", "policy", "interval_ms")} == {
        "id": "sh-1", "state": "started", "instance": 0, "policy": "restart", "interval_ms": 700,
    }  # fmt: skip
    assert status["pid"] > 0
    assert "sh-1" in rondo_sam(bench, "status").stdout
    eventually(lambda: rondo_sam(bench, "logs", name).stdout == f"{bench.work}\n\n", "its output is there")
    os.kill(status["pid"], signal.SIGKILL)
    bench.wait_for_instance(name, 1)
    assert "was ended by SIGKILL" in rondo_sam(bench, "status", name).stdout
    assert "stopped by user" in rondo_sam(bench, "stop", name).stdout
    (status,) = json.loads(rondo_sam(bench, "status", "--json").stdout)
    assert (status["state"], status["pid"], status["ends"]) == ("stopped", None, 2)
    assert "stopped" in rondo_sam(bench, "stop", name).stdout, "once more does no harm"


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["/nonexistent/program"], "No such file or directory"),
        (["no-such-program"], "No such file or directory"),
        (["/etc/passwd"], "Permission denied"),
        (["/tmp"], "Permission denied"),
    ],
)
def test_what_cannot_be_executed_is_refused_at_once_and_told(bench: Bench, command: list[str], text: str) -> None:
    error = rondo_sam(bench, "run", "--", *command, code=1).stderr
    assert text in error
    assert command[0] in error
    (status,) = bench.sam.status()
    assert (status["state"], status["pid"], status["ends"]) == ("failed", None, 1)
    assert text in status["message"]


def test_what_is_no_program_is_told_so(bench: Bench) -> None:
    program = bench.work / "program"
    program.write_bytes(b"\x00\x01nothing")
    program.chmod(0o755)
    assert "Exec format error" in rondo_sam(bench, "run", "--", str(program), code=1).stderr


def test_what_dies_at_once_waits_longer_and_longer_and_is_given_up(bench: Bench) -> None:
    name = bench.shell('echo x >> "$DIR/ran"; exit 4')
    waiting = bench.wait(name, lambda s: s["state"] == "waiting" and s["instance"] >= 2, "it waits")
    assert waiting["message"].startswith("exited with 4; it is started again in ")
    assert waiting["pid"] is None
    for _ in range(2):
        bench.restart("sam")  # the count is kept
    failed = bench.wait(name, lambda s: s["state"] == "failed", "it is given up")
    assert f"ended {QUICK_ENDS_MAX} times in a row" in failed["message"]
    assert f"rondo sam logs {name}" in failed["message"]
    assert len(bench.written("ran")) == failed["ends"]
    # On a busy machine an instance may have needed a second to its end. Then it counts from the beginning.
    lives = "".join("quick " if end["lived_ms"] < QUICK_MS else "slow " for end in failed["history"])
    assert lives.index("quick " * QUICK_ENDS_MAX) + len("quick " * QUICK_ENDS_MAX) == len(lives)


def test_what_ignores_the_signal_is_killed_when_it_is_stopped(bench: Bench) -> None:
    name = bench.shell('trap "" TERM; echo ready >> "$DIR/ready"; while :; do rest 100; done', interval_ms=300)
    bench.wait_for_line("ready")
    stopped = bench.sam.stop(name)
    assert stopped["state"] == "stopped"
    assert stopped["history"][0]["signal"] == signal.SIGKILL


def test_what_forks_and_exits_is_told_to_stay_in_the_foreground(bench: Bench) -> None:
    name = bench.shell('setsid sleep 1000 & echo $! > "$DIR/daemon"; exit 0', policy="quit")
    status = bench.wait(name, lambda s: s["ends"], "it has ended")
    assert status["state"] == "stopped"
    assert "keep it in the foreground" in status["message"]
    assert not Path(f"/proc/{bench.written('daemon')[0]}").exists()


def test_a_flood_of_output_is_bounded_and_its_end_is_kept(bench: Bench) -> None:
    name = bench.shell(
        "head -c 9000000 /dev/zero; echo; echo the end; while :; do ok; rest 0.05; done", interval_ms=3000
    )
    eventually(lambda: b"the end" in read_all(bench, name), "all was written")
    files = list((bench.run_dir / "sam").glob(f"{name}.log*"))
    assert sum(each.stat().st_size for each in files) <= 2 * 1024 * 1024
    assert bench.status(name)["instance"] == 0, "healthy all the while"
    assert len(rondo_sam(bench, "logs", name).stdout) <= 2 * 1024 * 1024


def read_all(bench: Bench, name: str) -> bytes:
    data, place, more = bench.sam.logs(name)
    while more:
        part, place, more = bench.sam.logs(name, place)
        data += part
    return data


def test_a_check_is_asked_and_what_it_says_counts(bench: Bench) -> None:
    check = bench.work / "check"
    check.write_text('#!/bin/sh\necho "$RONDO_SAM_PID $RONDO_SAM_CHECK $PWD" >> asked\n[ ! -e sick ]\n')
    check.chmod(0o755)
    arguments = ["--interval-ms", "3000", "--check", "check", "--", "sleep", "1000"]
    name = rondo_sam(bench, "run", *arguments).stdout.strip()
    first = bench.status(name)
    asked = bench.wait_for_line("asked", 3)
    assert asked == [f"{first['pid']} {name} {bench.work}"] * len(asked)
    assert bench.status(name)["instance"] == 0
    (bench.work / "sick").touch()
    bench.wait(name, lambda s: s["ends"], "it is ended")
    (bench.work / "sick").unlink()
    assert "its check exited with 1" in bench.status(name)["history"][0]["why"]
    bench.wait(name, lambda s: s["pid"] and s["pid"] != first["pid"], "it is back")


def test_a_check_that_does_not_answer_is_an_answer(bench: Bench) -> None:
    check = bench.work / "check"
    check.write_text("#!/bin/sh\nexec sleep 1000\n")
    check.chmod(0o755)
    name = bench.run("sleep", "1000", interval_ms=300, check=str(check), policy="quit")
    status = bench.wait(name, lambda s: s["ends"], "it is ended")
    assert "did not answer within 300 ms" in status["history"][0]["why"]


def test_wrong_usage_is_one_line(
    bench: Bench, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bench.work)
    (bench.work / "file").touch(mode=stat.S_IRUSR)
    where = ["--run-dir", str(bench.run_dir)]
    for arguments, code, text in WRONG:
        assert main(["sam", arguments[0], *where, *arguments[1:]]) == code
        errors = capfd.readouterr().err
        assert text in errors
        assert errors.count("\n") == 1


WRONG: list[tuple[list[str], int, str]] = [
    (["run"], 2, "CMD is missing"),
    (["run", "--interval-ms", "-1", "--", "true"], 2, "not a number of milliseconds"),
    (["run", "--warn-signal", "LOUD", "--", "true"], 2, "is no signal"),
    (["run", "--policy", "hope", "--", "true"], 2, "invalid choice"),
    (["run", "--check", "missing", "--", "true"], 1, "is not there"),
    (["run", "--check", "file", "--", "true"], 1, "not executable"),
    (["run", "--check", "file", "--interval-ms", "0", "--", "true"], 1, "needs an interval"),
    (["stop", "nobody-7"], 1, "there is no application 'nobody-7'"),
    (["logs", "../../etc/passwd"], 1, "there is no application"),
    (["status", "nobody-7"], 1, "there is no application"),
]


@pytest.mark.parametrize("command", ["run", "status", "stop", "logs", "environment"])
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sam", command, "--help"]) == 0
    assert "example: rondo sam" in capsys.readouterr().out


def test_where_no_node_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rondo.sam.commands.ANSWER_TIMEOUT_S", 0.2)
    assert main(["sam", "status", "--run-dir", str(tmp_path)]) == 1
    assert "no node answers" in capsys.readouterr().err
