"""Types the blocks of a page into one shell, as a reader does, and compares what is printed with what the page says."""

import os
import queue
import subprocess
import tempfile
import threading
import uuid
from pathlib import Path
from typing import Self

from tests.documents.blocks import Block, agrees, blocks

BLOCK_S = 180


class PageFailed(AssertionError):  # noqa: N818 - it is what happened
    """A block failed, or printed something else than its page says."""


class Shell:
    """A bash in a directory of its own. What a block sets, the next one finds set."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the shell
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-e"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=directory,
            env=environment,
            start_new_session=True,
        )
        self.cwd = directory
        self._printed: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._printed.put(line)
        self._printed.put(None)

    def run(self, block: Block, text: str) -> str:
        """What it prints to its standard output. Raises PageFailed if a command fails or takes too long."""
        mark = uuid.uuid4().hex
        # A block's commands find an empty input, not the rest of what is typed. `bash -e` ends at what fails.
        typed = f"{{ {text}\n}} </dev/null\nprintf '{mark} %s\\n' \"$PWD\"\n"
        assert self._process.stdin is not None
        self._process.stdin.write(typed)
        self._process.stdin.flush()
        printed: list[str] = []
        while True:
            try:
                line = self._printed.get(timeout=BLOCK_S)
            except queue.Empty:
                raise PageFailed(f"{block.place}: not done in {BLOCK_S} s; {self._said(printed)}") from None
            if line is None:
                raise PageFailed(f"{block.place}: a command failed; {self._said(printed)}")
            if mark in line:
                before, _, rest = line.partition(mark)
                self.cwd = Path(rest.strip())
                return "".join([*printed, before])
            printed.append(line)

    def _said(self, printed: list[str]) -> str:
        self._errors.seek(0)
        return f"printed:\n{''.join(printed)}{self._errors.read()[-2000:]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._errors.close()


def run_page(shell: Shell, page: Path, replaced: dict[str, str]) -> int:
    """All blocks of a page; in what is typed, each key of `replaced` becomes its value. Returns how many there were."""
    printed = ""
    found = blocks(page)
    for block in found:
        if block.title is not None:
            (shell.cwd / block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "bash":
            text = block.text
            for old, new in replaced.items():
                text = text.replace(old, new)
            printed = shell.run(block, text)
        elif block.language == "text" and block.follows:
            if not agrees(printed, block.text):
                raise PageFailed(f"{block.place}: the page says\n{block.text}and it was\n{printed}")
        else:
            raise PageFailed(f"{block.place}: a block of a kind that nobody runs")
    return len(found)


def clean_environment(**more: str) -> dict[str, str]:
    """What a newcomer has: nothing of Rondo, of pytest, or of a virtual environment."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RONDO_", "PYTEST_", "COV_", "COROSYNC_", "VIRTUAL_ENV"))
        and name not in ("PYTHONPATH", "PYTHONHOME")
    }
    return kept | more
