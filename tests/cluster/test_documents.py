"""Blocks that need real nodes: what is typed into a shell, a program under SAM, and tests that are shown."""

import functools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rondo.node.supervision.halt import kill
from rondo.testing import rondo_cluster
from rondo.testing.lab.waiting import wait_for
from tests.documents import typed
from tests.documents.blocks import DOCS, PAGES, ROOT, Block, blocks
from tests.documents.shell import PageFailed, Shell, clean_environment, run_page

THREE_NODES = DOCS / "tutorial" / "2-three-nodes.md"
TYPED_PAGES = ("howto/keys.md", "howto/shell.md")
TEST_S = 170
RUNS = "#!/bin/sh\nexec sleep 1000\n"
INSTANCES = """
import os
print("instance", instance, "process", os.getpid(), flush=True)
while True:
    signal.pause()
"""
HEALTHY = "#!/bin/sh\nexit 0\n"
REPLACED = {
    "/var/lib/node_exporter": "exported",
    "rondo doctor ": "{ rondo doctor || [ $? = 1 ]; } ",  # it may find something wrong with the machine of the tests
}


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
    for page in TYPED_PAGES:
        assert run_page(shell, DOCS / page, {}) > 3
    for name, text in (("server", RUNS), ("batch", RUNS), ("is-healthy", HEALTHY)):
        (shell.cwd / name).write_text(text)
        (shell.cwd / name).chmod(0o755)
    (shell.cwd / "exported").mkdir()
    printed = [typed_at_a_node(shell, typed.block(entry)) for entry in typed.AT_THREE_NODES[:-1]]
    start_what_is_written_for_sam(shell)
    printed.append(typed_at_a_node(shell, typed.block(typed.AT_THREE_NODES[-1])))
    assert "rondo_totem_members" in (shell.cwd / "exported" / "rondo.prom").read_text()
    operating, readme, commands = printed[1:]
    assert re.findall(r"^(?:server|batch)-\d$", operating, re.MULTILINE) == [
        "server-1",
        "server-2",
        "batch-3",
        "server-4",
    ]
    assert re.findall(r"^server-\d$", readme, re.MULTILINE) == ["server-5", "server-6"]
    assert "Quorate:           yes" in commands
    assert "ring.formed" in commands
    assert "rondo_totem_members" in commands


def start_what_is_written_for_sam(shell: Shell) -> None:
    """The README's program, killed once."""
    (block,) = [each for page in PAGES for each in blocks(page) if each.needs_sam]
    (shell.cwd / "program.py").write_text(f"import signal\n{block.text}{INSTANCES}")
    run = functools.partial(shell.run, block)
    name = run("rondo sam run -- python program.py").strip()
    logs = functools.partial(run, f"rondo sam logs {name}")
    first = wait_for(logs, lambda text: text.count("instance") == 1, "the program has started", 60.0)
    assert first.startswith("instance 0 ")
    run(f"kill -9 {first.split()[-1]}")
    both = wait_for(logs, lambda text: text.count("instance") == 2, "it is started again", 60.0)
    assert both.splitlines()[-1].startswith("instance 1 ")


def typed_at_a_node(shell: Shell, block: Block) -> str:
    """In a shell below this one, which stays where it is."""
    text = block.text
    for old, new in REPLACED.items():
        text = text.replace(old, new)
    return shell.run(block, f"( {text}\n)")


@pytest.mark.slow
@pytest.mark.parametrize("page", ["howto/test.md", pytest.param("RECIPES.md", marks=pytest.mark.namespaces)])
def test_the_test_that_a_page_shows_passes(tmp_path: Path, page: str) -> None:
    (block,) = [each for each in blocks(DOCS / page) if each.title is not None]
    (tmp_path / str(block.title)).write_text(block.text)
    pytest_of = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", str(tmp_path)]
    environment = clean_environment(PYTHONPATH=str(ROOT))
    done = subprocess.run(
        pytest_of, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=TEST_S, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_a_block_that_waits_for_a_descriptor_runs_at_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = [each for page in PAGES for each in blocks(page) if each.needs_node]
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
