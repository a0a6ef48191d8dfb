"""`rondo cpg` and `rondo bench`, as a user runs them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rondo.cli.main import main
from tests.unit.gateway.conftest import ROOT, GatewayProcess, StartGateway
from tests.unit.gateway.loopback import Loopback


def rondo_command(gateway: GatewayProcess, *arguments: str) -> "subprocess.Popen[bytes]":
    """`rondo ARGUMENTS`, with its input and output in pipes."""
    environment = os.environ | {"RONDO_RUN_DIR": str(gateway.run_dir)}
    environment.pop("RONDO_SOCKET", None)
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, "-m", "rondo.cli.main", *arguments], cwd=ROOT, env=environment, **pipes
    )  # fmt: skip


def test_lines_are_multicast_and_events_printed(loopback: Loopback, gateway: GatewayProcess) -> None:
    with rondo_command(gateway, "cpg", "join", "g", "--json", "--guarantee", "safe") as command:
        out, errors = command.communicate(b"hello\n\nnot \xff text\nlast", timeout=60)
    assert (command.returncode, errors) == (0, b"")
    me = {"node": 1, "pid": command.pid}
    message = {"event": "message", "group": "g", "sender": me, "configuration": "regular"}
    membership = {"event": "membership", "group": "g"}
    assert [json.loads(line) for line in out.splitlines()] == [
        {**membership, "members": [me], "joined": [{**me, "reason": "join"}], "left": []},
        {**message, "data": "hello"},
        {**message, "data": ""},
        {**message, "data_base64": "bm90IP8gdGV4dA=="},
        {**message, "data": "last"},
        {**membership, "members": [], "joined": [], "left": [{**me, "reason": "leave"}]},
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_cleanly(loopback: Loopback, gateway: GatewayProcess, number: signal.Signals) -> None:
    with rondo_command(gateway, "cpg", "join", "g") as command:
        assert command.stdin is not None
        assert command.stdout is not None
        command.stdin.write(b"hello\n")
        command.stdin.flush()
        assert b"+1/" in command.stdout.readline()  # at once, though the input goes on
        assert command.stdout.readline().endswith(b": hello\n")
        with rondo_command(gateway, "cpg", "groups", "--json") as groups:
            listed = json.loads(groups.communicate(timeout=60)[0])
        assert listed == [{"group": "g", "members": [{"node": 1, "pid": command.pid}]}]
        command.send_signal(number)
        assert command.stdout.readline().endswith(b"members: nobody\n")
        assert command.wait(timeout=60) == 0


def test_bench_prints_what_it_measured(loopback: Loopback, gateway: GatewayProcess) -> None:
    with rondo_command(gateway, "bench", "throughput", "--size", "100", "--seconds", "0.3", "--json") as command:
        result = json.loads(command.communicate(timeout=60)[0])
    assert set(result) == {"size", "seconds", "messages", "messages_per_second", "megabytes_per_second"}
    assert result["messages"] == len(loopback.taken)
    assert result["messages"] > 0
    with rondo_command(gateway, "bench", "latency", "--size", "10", "--count", "50", "--json") as command:
        result = json.loads(command.communicate(timeout=60)[0])
    assert set(result) == {"p50_us", "p99_us", "max_us", "count"}
    assert 0 < result["p50_us"] <= result["p99_us"] <= result["max_us"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["cpg", "join", "x" * 129], 1),
        (["cpg", "join", ""], 1),
        (["cpg"], 2),
        (["cpg", "join", "g", "--guarantee", "perhaps"], 2),
        (["bench", "latency", "--count", "0"], 2),
        (["bench", "throughput", "--seconds", "nan"], 2),
        (["bench", "throughput", "--size", "-1"], 2),
    ],
)
def test_wrong_usage_is_one_line(
    loopback: Loopback, gateway: GatewayProcess, arguments: list[str], code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    where = ["--socket", gateway.endpoint] if len(arguments) > 1 else []
    assert main([*arguments, *where]) == code
    out, errors = capfd.readouterr()
    assert (out, errors.count("\n")) == ("", 1)
    assert errors.startswith("error: ")


def test_a_long_input_is_sent_no_faster_than_it_is_printed(start_gateway: StartGateway, tmp_path: Path) -> None:
    """Who takes what comes too slowly is cut off by his node."""
    gateway = start_gateway()
    cpg = Loopback(gateway.run_dir, client_bytes_max=3 * 1024 * 1024)
    lines = tmp_path / "lines"
    lines.write_bytes((b"x" * 16_000 + b"\n") * 1000)
    command = [sys.executable, "-m", "rondo.cli.main", "cpg", "join", "g", "--socket", gateway.endpoint]
    try:
        gateway.connect().close()
        with (
            lines.open("rb") as stdin,
            subprocess.Popen(command, cwd=ROOT, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as join,
        ):
            assert join.stdout is not None
            assert join.stderr is not None
            # It gets ahead as far as it ever does, while nobody reads what it prints.
            before = -1
            while before != (before := cpg.call(lambda: len(cpg.taken))) or not before:
                time.sleep(0.3)
            said = join.stdout.read()
            assert join.stderr.read() == b""
        assert (join.returncode, said.count(b"xxx\n")) == (0, 1000)
    finally:
        cpg.close()
