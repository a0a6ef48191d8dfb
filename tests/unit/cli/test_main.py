"""`rondo` itself: finding commands, exit codes, one line for every failure."""

import importlib.metadata
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import rondo
from rondo.cli import commands
from rondo.cli.main import main


@pytest.fixture(name="commands_dir")
def _commands_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose modules are commands too."""
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    return tmp_path


def add_command(directory: Path, name: str, body: str) -> None:
    lines = [
        "HELP = 'a test'",
        "EXAMPLE = 'rondo x'",
        "def add_arguments(parser): pass",
        "def run(arguments):",
        f"    {body}",
    ]
    (directory / f"{name}.py").write_text("\n".join(lines))


def test_a_file_is_a_command(commands_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_command(commands_dir, "say_hello", "print('hello'); return 0")
    assert main(["say-hello"]) == 0
    assert capsys.readouterr().out == "hello\n"
    assert main(["--help"]) == 0
    assert re.search(r"^  say-hello +a test$", capsys.readouterr().out, re.MULTILINE)
    sys.modules.pop("rondo.cli.commands.say_hello")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("from rondo.cli.output import CommandError; raise CommandError('two\\nlines')", "error: two\\nlines\n"),
        ("from rondo.paths import PathError; raise PathError('/x: bad')", "error: /x: bad\n"),
        ("open('/no/such/file')", "error: /no/such/file: No such file or directory\n"),
        ("raise OSError('plain')", "error: plain\n"),
    ],
)
def test_failures_are_one_line(commands_dir: Path, capsys: pytest.CaptureFixture[str], body: str, message: str) -> None:
    add_command(commands_dir, "failing", body)
    assert main(["failing"]) == 1
    assert capsys.readouterr() == ("", message)
    sys.modules.pop("rondo.cli.commands.failing")


def test_an_interrupt_ends_quietly(commands_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_command(commands_dir, "waiting", "raise KeyboardInterrupt")
    assert main(["waiting"]) == 130
    assert capsys.readouterr() == ("", "")
    sys.modules.pop("rondo.cli.commands.waiting")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_a_command_is_its_exit_code(number: signal.Signals) -> None:
    program = (
        "import os, sys; from rondo.cli.interrupts import exit_code, interrupt_on; number = int(sys.argv[1])\n"
        "interrupt_on(number)\n"
        "try: os.kill(os.getpid(), number); sys.exit(1)\n"
        "except KeyboardInterrupt as interrupt: sys.exit(exit_code(interrupt))"
    )
    # Whoever runs the tests may have it ignored.
    default = ["env", f"--default-signal={number.name.removeprefix('SIG')}"]
    done = subprocess.run([*default, sys.executable, "-c", program, str(int(number))], check=False)
    assert done.returncode == 128 + number
    # nohup has had it ignored: it stays so.
    assert (
        subprocess.run(["nohup", sys.executable, "-c", program, "1"], capture_output=True, check=False).returncode == 1
    )


def test_ctrl_c_while_the_command_is_being_imported_ends_quietly() -> None:
    program = (
        "import os, signal, sys\n"
        "class Early:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'rondo.cli.finding': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Early())\n"
        "from rondo.cli.main import main\n"
        "sys.exit(main(['--version']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a command is missing; see `rondo --help`"),
        (["conifg"], "there is no command 'conifg', did you mean 'config'?; see `rondo --help`"),
        (["x" * 30], "there is no command"),
        (["a\nb"], "there is no command 'a\\nb'"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
        (["config"], "the following arguments are required: check|show; see `rondo config --help`"),
        (["keygen", "--bytes", "many"], "argument --bytes: 'many' is not a number of bytes; see `rondo keygen --help`"),
        (["logs", "-n", "-5"], "'-5' is not a number of lines from 0 to 1000000000; see `rondo logs --help`"),
        (["events", "-n", "1e3"], "'1e3' is not a number of lines from 0 to"),
        (["events", "-n", "9" * 5000], "is not a number of lines from 0 to"),
        (["top", "--interval", "nan"], "'nan' is not a number of seconds from 0 to 86400; see `rondo top --help`"),
        (["top", "--interval", "inf"], "'inf' is not a number of seconds from 0 to"),
        (["top", "--interval", "-1"], "'-1' is not a number of seconds from 0 to"),
        (["top", "--count", "0"], "'0' is not a number of reports from 1 to"),
        (["key", "use", "abc", "--timeout", "nan"], "'nan' is not a number of seconds from 0 to 3600"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert message in output.err
    assert output.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["--help"], ["config", "--help"], ["config", "show", "--help"], ["keygen", "--help"]]
)
def test_help_has_an_example(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert "example: rondo " in capsys.readouterr().out


def test_the_version_is_that_of_the_installed_package() -> None:
    assert rondo.__version__ == importlib.metadata.version("rondo")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("rondo ")


def test_a_command_imports_only_what_it_needs() -> None:
    program = (
        "import sys; from rondo.cli.main import main; main(['keygen', '--help']);"
        "print(sorted({'pydantic', 'zmq', 'rondo.cli.commands.config'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_goes_away_makes_no_noise() -> None:
    command = f"{sys.executable} -m rondo.cli.main config show -c config/corosync.conf --json | head -c 1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert (done.stdout, done.stderr) == ("{", "")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["cmap", "list", "\udcff"], "prefix"),
        (["cmap", "get", "\udcff"], "key"),
        (["cmap", "watch", "\udcff"], "prefix"),
        (["cmap", "delete", "a.\udcff"], "key"),
        (["cmap", "set", "a.b", "str", "\udcff"], "value"),
        (["kill", "7", "--reason", "\udcff"], "reason"),
    ],
)
def test_an_argument_that_is_no_utf_8_is_refused_by_name(
    arguments: list[str], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Arguments in another character set than UTF-8."""
    with socket.socket(socket.AF_UNIX) as node:
        node.bind(str(tmp_path / "s"))
        node.listen()
        assert main([*arguments, "--socket", f"ipc://{tmp_path}/s"]) == 1
    assert f"error: {name}: a text that UTF-8 can hold" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["/", ".", ".."])
@pytest.mark.parametrize("command", [["keygen", "--key-file"], ["keygen", "--curve", "--key-file"], ["report", "-o"]])
def test_a_directory_is_no_file_to_write(
    command: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RONDO_RUN_DIR", str(tmp_path))
    assert main([*command, name]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert list(tmp_path.iterdir()) == []
