"""What documents of docs/ link to outside of it becomes part of the site, under outside/: a hook of mkdocs.

On the page of a repository such a link shows the file. In a site that holds docs/ alone it would lead nowhere. So each
file that is linked as `../PATH` is taken along: Markdown as a page, with its own links put right, all else as it is.
"""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PLACE = "outside"
PAGES = ("CHANGELOG.md", "bench/RESULTS.md")
"""Those that the navigation names."""

_LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")


def target(link: str, page: str) -> str:
    """The path in the repository that `link` of the file `page` (a path in the repository) means."""
    return normpath(str(PurePosixPath(page).parent / link))


def in_site(path: str) -> str:
    """Where a file of the repository is in the site: docs/ is its root."""
    return path.removeprefix("docs/") if path.startswith("docs/") else f"{PLACE}/{path}"


def in_repository(uri: str) -> str:
    """The other way round."""
    return uri.removeprefix(f"{PLACE}/") if uri.startswith(f"{PLACE}/") else f"docs/{uri}"


def links(text: str, page: str) -> set[str]:
    """The files of the repository outside of docs/ that `text` links to."""
    found = {target(match[2], page) for match in _LINK.finditer(text) if "://" not in match[2]}
    return {path for path in found if not path.startswith(("docs/", "..")) and (ROOT / path).is_file()}


def on_files(files: Files, config: Any) -> Files:
    """Add what is linked, and what that links to."""
    pages = [file.src_uri for file in files.documentation_pages()]
    waiting = set(PAGES).union(*(links((ROOT / "docs" / page).read_text("utf-8"), f"docs/{page}") for page in pages))
    done: set[str] = set()
    while waiting:
        path = waiting.pop()
        done.add(path)
        files.append(File.generated(config, in_site(path), abs_src_path=str(ROOT / path)))
        if path.endswith(".md"):
            waiting |= links((ROOT / path).read_text("utf-8"), path) - done
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put the links right; a link to a directory of the repository is left as its name."""
    here = in_repository(page.file.src_uri)

    def changed(match: re.Match[str]) -> str:
        if "://" in match[2] or not (ROOT / target(match[2], here)).exists():
            return match[0]
        there = relpath(in_site(target(match[2], here)), str(PurePosixPath(page.file.src_uri).parent))
        return f"{match[1]}{there}{match[3] or ''}{match[4]}"

    return _LINK.sub(changed, markdown)
