"""The man pages tell of every command and option that --help tells of, and are man pages."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rondo.cli import commands, manual
from rondo.cli.finding import command_names
from rondo.cli.main import main
from rondo.cli.tree import Kind, tree

OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
SUBCOMMAND = re.compile(r"^    ([a-z][a-z-]*)(?: {2,}\S|$)", re.MULTILINE)


def help_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The output of `rondo WORDS --help`."""
    assert main([*words, "--help"]) == 0
    return capsys.readouterr().out


def plain(page: str) -> str:
    """The text of a page without roff's requests and escapes."""
    return re.sub(r"\\f[BIR]", "", page).replace(r"\-", "-").replace(r"\&", "")


def test_there_is_a_page_for_every_command() -> None:
    files = {path.stem.replace("_", "-") for path in Path(commands.__path__[0]).glob("[a-z]*.py")}
    assert {f"rondo-{name}.1" for name in files} | {"rondo.1"} == manual.pages().keys()


@pytest.mark.parametrize("name", command_names())
def test_a_page_has_all_that_help_has(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = plain(manual.pages()[f"rondo-{name}.1"])
    helped = help_of(capsys, name)
    below = SUBCOMMAND.findall(helped.partition("positional arguments:")[2])
    for word in [[], *([each] for each in below)]:
        text = help_of(capsys, name, *word)
        section = page.partition(f"\n.SS {word[0]}\n")[2].partition("\n.SS ")[0] if word else page
        options = set(OPTION.findall(text.partition("options:")[2].partition("example:")[0]))
        assert options, text
        assert options <= set(OPTION.findall(section)), word
    if name == "sam":
        assert below == ["run", "status", "stop", "logs", "environment"]


def test_what_help_hides_is_not_told() -> None:
    watch = next(command for command in tree().all() if command.words == ("rondo", "quorum", "watch"))
    assert [option.names for option in watch.options] == [("-h", "--help"), ("--json",)]


def test_values_are_told_apart() -> None:
    kinds = {
        (*command.words[1:], (argument.names or (argument.metavar,))[-1]): argument.kind
        for command in tree().all()
        for argument in command.arguments
    }
    assert kinds["start", "--config"] is Kind.FILE
    assert kinds["start", "--run-dir"] is Kind.DIRECTORY
    assert kinds["start", "--foreground"] is Kind.FLAG
    assert kinds["start", "--nodeid"] is Kind.TEXT
    assert kinds["cpg", "join", "--guarantee"] is Kind.CHOICE
    assert kinds["sam", "run", "-- CMD ..."] is Kind.COMMAND_LINE
    assert kinds["key", "install", "KEY"] is Kind.FILE
    assert kinds["cmap", "get", "KEY"] is Kind.TEXT


@pytest.fixture(name="directory", scope="module")
def _directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("man")
    assert manual.main([str(directory)]) == 0
    return directory


def test_groff_has_no_complaint(directory: Path) -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    for page in sorted(directory.iterdir()):
        command = ["groff", "-man", "-ww", "-b", "-z", "-Tutf8", str(page)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stderr == "", page.name


def test_mandoc_has_no_complaint(directory: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    pages = sorted(map(str, directory.iterdir()))
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *pages], capture_output=True, text=True, check=False
    )
    # The pages have no date: two builds of one source are the same bytes.
    complaints = [line for line in done.stdout.splitlines() if 'missing date, using ""' not in line]
    assert complaints == []


def test_roffs_own_characters_are_printed(tmp_path: Path) -> None:
    assert manual.quoted(".start a\\b 'c") == r"\&.start a\eb 'c"
    assert manual.quoted("'quoted' --x") == r"\&'quoted' \-\-x"
