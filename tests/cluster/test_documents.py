"""The how-tos that need real nodes: their shell blocks beside three nodes, and the test that one of them shows."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rondo.node.supervision.halt import kill
from rondo.testing import rondo_cluster
from tests.documents.blocks import DOCS, ROOT, blocks
from tests.documents.shell import PageFailed, Shell, clean_environment, run_page

THREE_NODES = DOCS / "tutorial" / "2-three-nodes.md"
PAGES = ("howto/keys.md", "howto/shell.md")
TEST_S = 170


@pytest.fixture(name="shell")
def _shell() -> Iterator[Shell]:
    """A shell in a directory of its own, with the commands of this tree."""
    with tempfile.TemporaryDirectory(prefix="rondo-test-", dir="/tmp") as name:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        with Shell(Path(name), clean_environment(PATH=path, PYTHONPATH=str(ROOT))) as shell:
            yield shell
        for run_dir in Path(name).glob("node*/run"):
            kill(run_dir)


@pytest.mark.slow
def test_pages_for_a_shell_say_what_is_printed(shell: Shell) -> None:
    assert run_page(shell, THREE_NODES, {"5605": "5615"}) > 10
    for page in PAGES:
        assert run_page(shell, DOCS / page, {}) > 3


@pytest.mark.slow
def test_the_test_that_a_page_shows_passes(tmp_path: Path) -> None:
    (block,) = [each for each in blocks(DOCS / "howto" / "test.md") if each.title is not None]
    (tmp_path / str(block.title)).write_text(block.text)
    pytest_of = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", str(tmp_path)]
    environment = clean_environment(PYTHONPATH=str(ROOT))
    done = subprocess.run(
        pytest_of, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=TEST_S, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_a_block_that_waits_for_a_descriptor_runs_at_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = [each for page in DOCS.rglob("*.md") for each in blocks(page) if each.needs_node]
    with rondo_cluster(nodes=1, network=False) as c:
        monkeypatch.setenv("RONDO_SOCKET", c[1].endpoint)
        exec(compile(block.text, block.place, "exec"), {"__name__": "block"})


def test_a_page_that_says_something_else_fails(tmp_path: Path) -> None:
    page = ROOT / "build" / "test-page.md"
    page.parent.mkdir(exist_ok=True)
    for text in ("```bash\necho a\n```\n\n```text\nb\n```\n", "```bash\nfalse\n```\n", "```perl\n1\n```\n"):
        page.write_text(text)
        with Shell(tmp_path, clean_environment()) as shell, pytest.raises(PageFailed):
            run_page(shell, page, {})
    page.unlink()
