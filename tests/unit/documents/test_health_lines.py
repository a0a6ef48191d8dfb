"""What docs/PROTOCOL-CLIENT.md has an application say of its health, in a shell and in C, arrives in its FIFO."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.documents import typed
from tests.documents.blocks import DOCS, blocks

COMMAND_S = 60
TWICE = "n=0\nwork() { n=$((n + 1)); [ $n -le 2 ]; }\n"
PROGRAM = """\
#include <stdio.h>
#include <stdlib.h>
int main(void) {
    %s
    return 0;
}
"""


def said(argv: list[str]) -> bytes:
    """What a program writes to the descriptor that RONDO_SAM_HEALTH names."""
    ours, its = os.pipe()
    try:
        environment = os.environ | {"RONDO_SAM_HEALTH": str(its)}
        subprocess.run(argv, check=True, pass_fds=[its], env=environment, timeout=COMMAND_S)
    finally:
        os.close(its)
    with os.fdopen(ours, "rb") as reader:
        return reader.read()


def test_in_a_shell() -> None:
    assert said(["bash", "-e", "-c", TWICE + typed.block(typed.UNDER_SAM).text]) == b"ok\nok\n"


def test_in_c(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    (block,) = [each for page in sorted(DOCS.rglob("*.md")) for each in blocks(page) if each.language == "c"]
    source = tmp_path / "health.c"
    source.write_text(PROGRAM % block.text)
    argv = [compiler, "-Wall", "-Werror", "-o", str(tmp_path / "health"), str(source)]
    subprocess.run(argv, check=True, timeout=COMMAND_S)
    assert said([str(tmp_path / "health")]) == b"ok\n"
