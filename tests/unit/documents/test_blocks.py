"""The code blocks of all documents do what they say, and the reference of events and errors leaves none out."""

import importlib.util
import json
import re
import typing
from pathlib import Path

import pytest

import rondo
from rondo import errors, quorum
from rondo.config import load
from tests.documents import typed
from tests.documents.blocks import DOCS, PAGES, ROOT, Block, agrees, blocks
from tests.documents.on_loopback import run

TEACHING = ("tutorial", "howto", "concepts", "coming-from", "reference")
LANGUAGES = {"python", "bash", "conf", "json", "c", "text"}
ALL = [block for page in PAGES for block in blocks(page)]
PYTHON = [
    block
    for block in ALL
    if block.language == "python" and block.title is None and not (block.needs_node or block.needs_sam or block.goes_on)
]
CONFIGURATIONS = [block for block in ALL if block.language == "conf"]
FILES = [block for block in ALL if block.language == "python" and block.title is not None]
SHELL_PAGES = {block.page for block in ALL if block.language == "bash"}


def place(block: Block) -> str:
    return block.place


@pytest.mark.parametrize("block", PYTHON, ids=place)
def test_a_python_block_runs(block: Block) -> None:
    run(block)


@pytest.mark.parametrize("block", CONFIGURATIONS, ids=place)
def test_a_configuration_is_right(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "corosync.conf"
    is_whole = "totem {" in block.text
    path.write_text(block.text if is_whole else f"{(ROOT / 'config' / 'corosync.conf').read_text()}{block.text}")
    loaded = load(path, node_id=1)
    assert loaded.config.totem.cluster_name
    assert not loaded.warnings, block.place


@pytest.mark.parametrize("block", FILES, ids=place)
def test_a_file_is_python(block: Block) -> None:
    compile(block.text, block.place, "exec")


def test_every_block_has_a_language_that_somebody_runs() -> None:
    fences = sum(len(re.findall(r"^ *```", page.read_text(), re.MULTILINE)) for page in PAGES)
    assert fences == 2 * len(ALL), "a block that is not seen here"
    for block in ALL:
        assert block.language in LANGUAGES, f"{block.place}: nobody runs it"


def test_every_shell_block_of_the_other_pages_is_typed_by_one_test() -> None:
    others = [block for block in ALL if block.language == "bash" and not is_teaching(block)]
    assert sorted(map(place, others)) == sorted(typed.block(entry).place for entry in typed.ALL)


def is_teaching(block: Block) -> bool:
    return DOCS in block.page.parents and block.page.relative_to(DOCS).parts[0] in TEACHING


def test_what_is_shown_of_an_event_is_one() -> None:
    (block,) = [each for each in ALL if each.language == "json"]
    shown = json.loads(block.text)
    (line,) = [
        line for line in (DOCS / "EVENTS.md").read_text().splitlines() if line.startswith(f"| `{shown['event']}` |")
    ]
    assert f"| {shown['source']} |" in line
    assert set(re.findall(r"`(\w+)`", line.split("|")[4])) == shown["detail"].keys()


def test_every_block_of_the_pages_that_teach_is_of_a_kind_that_is_run() -> None:
    teaching = list(filter(is_teaching, ALL))
    assert len(teaching) > 50
    assert {block.language for block in teaching} == {"python", "bash", "conf", "text"}
    for block in teaching:
        assert block.follows or block.language != "text", f"{block.place}: what printed this?"
        assert block.page not in SHELL_PAGES or block.language != "python" or block.title, (
            f"{block.place}: nobody runs it"
        )


def test_pages_for_a_shell_are_those_that_tests_type() -> None:
    """tests/packages/test_newcomer.py has the tutorial, tests/cluster/test_documents.py the rest."""
    pages = {block.page for block in ALL if block.language == "bash" and is_teaching(block)}
    others = {str(page.relative_to(DOCS)) for page in pages if page.parent.name != "tutorial"}
    assert others == {"howto/keys.md", "howto/shell.md"}


@pytest.mark.parametrize(
    ("printed", "expected", "agree"),
    [
        ("a 12345 b\n", "a 99999 b\n", True),
        ("a 123 b\n", "a 124 b\n", False),
        ("a    b\n", "a b", True),
        ("node 1 at /tmp/x\nend\n", "node 1 at ...\nend\n", True),
        ("node 1 at /tmp/x\nend\nmore\n", "node 1 at ...\nend\n", False),
        ("(a) [b] 1.5*\n", "(a) [b] 1.5*\n", True),
        ("1x5\n", "1.5\n", False),
        ("first\nlast\n", "...\nlast", True),
    ],
)
def test_what_agrees_with_what_a_page_says(printed: str, expected: str, agree: bool) -> None:
    assert agrees(printed, expected) is agree


def test_a_block_knows_its_title_and_what_it_follows(tmp_path: Path) -> None:
    page = ROOT / "docs" / "tutorial" / "3-groups.md"
    found = blocks(page)
    assert [block.title for block in found if block.title] == ["chat.py"]
    assert found[1].language == "text"
    assert found[1].follows
    assert not found[2].follows
    assert page.read_text().splitlines()[found[2].line - 1].startswith("```python")


def test_every_event_is_explained_with_what_to_do() -> None:
    text = (DOCS / "reference" / "events.md").read_text()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))
    for event in typing.get_args(rondo.Event):
        assert "**Do" in sections[event.__name__], event
    for change in typing.get_args(quorum.Change):
        assert f"`rondo.quorum.{change.__name__}`" in sections["Quorum"]


def test_every_error_is_explained_with_its_code() -> None:
    text = (DOCS / "reference" / "errors.md").read_text()
    told = {
        name: int(code) for name, code in re.findall(r"^\| `(\w+)` \| (\d+) \| [^|]+ \| [^|]+ \|$", text, re.MULTILINE)
    }
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.Error)]
    assert told == {kind.__name__: kind.code for kind in kinds}


def test_the_drawings_are_current() -> None:
    """Printed by python packaging/site/drawings.py."""
    spec = importlib.util.spec_from_file_location("drawings", ROOT / "packaging" / "site" / "drawings.py")
    assert spec is not None
    assert spec.loader is not None
    drawings = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawings)
    for draw in drawings.DRAWINGS:
        assert (DOCS / "images" / f"concept-{draw.__name__}.svg").read_text() == draw().svg()
