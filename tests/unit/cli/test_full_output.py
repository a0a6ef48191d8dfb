"""Commands whose standard output is on a full disk, and whose standard error is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rondo.cli.finding import command_names

ROOT = Path(__file__).parents[3]
FULL = Path("/dev/full")
SECONDS = 60.0
NO_ROOM = "error: standard output: No space left on device\n"


def run(
    arguments: list[str], *, unbuffered: str = "", is_error_full: bool = False
) -> "subprocess.CompletedProcess[str]":
    """Run `rondo ARGUMENTS > /dev/full`, or `rondo ARGUMENTS 2> /dev/full`."""
    with FULL.open("wb") as full:
        return subprocess.run(
            [sys.executable, "-m", "rondo.cli.main", *arguments],
            stdout=subprocess.PIPE if is_error_full else full,
            stderr=full if is_error_full else subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=SECONDS,
            check=False,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--help"],
        ["config", "--help"],
        ["config", "show", "--help"],
        ["config", "check", "-c", "config/corosync.conf"],
        ["config", "show", "-c", "config/corosync.conf"],
        ["config", "show", "-c", "config/corosync.conf", "--json"],
        ["completion", "bash"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_written_is_no_success(arguments: list[str], unbuffered: str) -> None:
    done = run(arguments, unbuffered=unbuffered)
    assert done.returncode == 1
    warnings = done.stderr.removesuffix(NO_ROOM)
    assert done.stderr.endswith(NO_ROOM)
    assert all(line.startswith("warning: ") for line in warnings.splitlines())


def test_the_help_of_every_command_is_no_success() -> None:
    for name in command_names():
        done = run([name, "--help"])
        assert (done.returncode, done.stderr) == (1, NO_ROOM), name


def test_what_was_wrong_before_is_told_too(tmp_path: Path) -> None:
    """The message about the full disk does not replace the one about the fault that matters."""
    done = run(["config", "show", "-c", str(tmp_path / "none")])
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path}/none: no such file")


def test_a_file_on_a_full_disk_ends_with_what_had_room(tmp_path: Path) -> None:
    """The usual case: a part of the output is written before the disk is full."""
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100));"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "from rondo.cli.main import main; sys.exit(main(['completion', 'bash']))"
    )
    with (tmp_path / "out").open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdout=out, stderr=subprocess.PIPE, text=True, timeout=SECONDS, check=False, cwd=ROOT,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "error: standard output: File too large\n")
    assert (tmp_path / "out").stat().st_size == 100


def test_a_warning_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    file = tmp_path / "corosync.conf"
    file.write_text((ROOT / "config/corosync.conf").read_text() + "\nsystem {\n    no_such_option: 1\n}\n")
    assert "warning: " in subprocess.run(
        [sys.executable, "-m", "rondo.cli.main", "config", "check", "-c", str(file)],
        capture_output=True, text=True, timeout=SECONDS, check=True, cwd=ROOT,
    ).stderr  # fmt: skip
    done = run(["config", "check", "-c", str(file)], is_error_full=True)
    assert done.returncode == 0
    assert "no errors" in done.stdout
    assert run(["conifg"], is_error_full=True).returncode == 2
