"""Every command that a shell block of a document types is one: `rondo` with its options, and the targets of make."""

import re
import shlex
from collections.abc import Iterator

import pytest

from rondo.cli.finding import command_names, parser_of
from tests.documents import typed
from tests.documents.blocks import PAGES, ROOT, Block, blocks

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):.*##", MAKEFILE, re.MULTILINE))
ENDS = re.compile(r"[|;&<>]+")
SETTING = re.compile(r"[A-Z_]+=.*", re.DOTALL)


def commands(text: str) -> Iterator[list[str]]:
    """The simple commands of a block, without settings of variables and redirections."""
    for line in text.replace("\\\n", " ").replace("$n", "1").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        command: list[str] = []
        for word in [*lexer, ";"]:
            if not ENDS.fullmatch(word):
                command.append(word)
                continue
            while command and SETTING.fullmatch(command[0]):
                command.pop(0)
            if command:
                yield command
            command = []


OF_RONDO = [
    pytest.param(command[command.index("rondo") :], id=block.place)
    for page in PAGES
    for block in blocks(page)
    if block.language == "bash"
    for command in commands(block.text)
    if command[0] == "rondo" or command[:3] == ["docker", "compose", "exec"]
]


@pytest.mark.parametrize("command", OF_RONDO)
def test_rondo_takes_what_is_typed(command: list[str]) -> None:
    _, name, *arguments = command
    if name != "--version":
        assert name in command_names()
        parser_of(name).parse_args(arguments)


def test_there_are_many_of_them() -> None:
    assert len(OF_RONDO) > 40


@pytest.mark.parametrize("block", [*map(typed.block, typed.BY_MAKE)], ids=lambda block: block.place)
def test_make_has_the_targets_and_variables(block: Block) -> None:
    made = [command[1:] for command in commands(block.text) if command[0] == "make"]
    assert made
    for words in made:
        for word in words:
            variable, is_variable, _ = word.partition("=")
            assert f"$({variable})" in MAKEFILE or f"$(if $({variable})" in MAKEFILE if is_variable else word in TARGETS


def test_what_is_no_command_is_seen() -> None:
    assert list(commands("A=1 rondo status --json | wc -l && x > y  # z")) == [
        ["rondo", "status", "--json"],
        ["wc", "-l"],
        ["x"],
        ["y"],
    ]
    with pytest.raises(SystemExit):
        parser_of("status").parse_args(["--no-such-option"])
