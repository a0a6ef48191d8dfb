"""The code blocks of a page of Markdown, in order, and whether what was printed is what the page says.

A block is what its fence says:

    ```python                   runs by itself
    ```python title="NAME"      the content of a file, as is every other language with a title
    ```bash                     is typed into a shell
    ```conf                     a configuration, or a part of one
    ```json                     what a program prints
    ```c                        a statement
    ```text                     what the block before it prints; by itself: a drawing or a listing, for the eye

Shell blocks of pages that teach are typed in order; of the rest, tests/documents/typed.py says who types which.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (
    *(
        ROOT / name
        for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "tests/checker/README.md")
    ),
    *sorted((ROOT / "bench").glob("*.md")),
    *sorted(DOCS.rglob("*.md")),
)
"""All that is written for readers."""

_FENCE = re.compile(r"^```([a-z]*)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_CHANGES = re.compile(r"\d{4,}")


@dataclass(frozen=True)
class Block:
    """One block. `line` is that of its fence."""

    page: Path
    line: int
    language: str
    title: str | None
    text: str
    follows: bool
    """Nothing but an empty line is between the block before it and this one."""

    @property
    def needs_node(self) -> bool:
        """A group of a loopback has no descriptor: tests/cluster/test_documents.py runs it."""
        return "select.select(" in self.text

    @property
    def needs_sam(self) -> bool:
        """It is written for an application under SAM: tests/cluster/test_documents.py runs it."""
        return "sam.register(" in self.text

    @property
    def goes_on(self) -> bool:
        """It hears events for ever: tests/unit/client/test_readme.py runs it."""
        return "for event in group:" in self.text and "break" not in self.text

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All of a page."""
    text = page.read_text(encoding="utf-8")
    found = []
    end = -2
    for match in _FENCE.finditer(text):
        follows = not text[end : match.start()].strip() if end >= 0 else False
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, match[1], match[2], match[3], follows))
        end = match.end()
    return found


def block_of(page: str, beginning: str) -> Block:
    """The one block of a page (a path in the repository) whose text begins so."""
    (found,) = [block for block in blocks(ROOT / page) if block.text.startswith(beginning)]
    return found


def agrees(printed: str, expected: str) -> bool:
    """Whether a page's expectation holds: `...` is anything; numbers of four digits and more, and how much space there
    is, do not count."""
    parts = [re.escape(_plain(part)) for part in expected.split("...")]
    return re.fullmatch(".*".join(parts), _plain(printed), re.DOTALL) is not None


def _plain(text: str) -> str:
    return _CHANGES.sub("N", re.sub(r"\s+", " ", text)).strip(" ")
