"""The pictures of the page in docs/images: python -m tests.cluster.browser.screenshots [DIRECTORY]

A node is out, so that the pictures show what that looks like.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path

from rondo.testing.lab.requirements import namespaces_missing
from tests.cluster.browser.chromium import chromium_missing
from tests.cluster.browser.scene import PAGE, scene

DIRECTORY = Path(__file__).parents[3] / "docs/images"
DRAWN = "[...document.querySelectorAll('polyline')].some((line) => line.points.length > 12)"
DRAWN_WITHIN_S = 90.0
HEIGHT_MAX = 1800
PICTURES = {
    "page-light.png": (1100, 800, False, False),
    "page-dark.png": (1100, 800, True, False),
    "page-phone.png": (380, 780, False, True),
}
"""Width and height in CSS pixels, dark, on a telephone."""


def main(directory: Path) -> int:
    """Make the pictures. Returns the exit code."""
    if missing := namespaces_missing() or chromium_missing():
        print(f"no pictures: {missing}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="rondo-", dir="/tmp") as name, scene(Path(name)) as there:
        there.browser.be(1100, 800)
        there.browser.open(PAGE)
        there.browser.seen("document.getElementById('applications').innerText.includes('sleep-')")
        there.browser.seen(DRAWN, DRAWN_WITHIN_S)
        there.nodes[3].send(signal.SIGKILL)
        there.browser.seen("document.getElementById('nodes').innerText.includes('absent')")
        there.browser.seen("document.getElementById('groups').innerText.includes('ledger')")
        for file, (width, height, dark, is_phone) in PICTURES.items():
            there.browser.be(width, height, dark=dark, is_phone=is_phone)
            (directory / file).write_bytes(there.browser.screenshot(HEIGHT_MAX))
            print(directory / file)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else DIRECTORY))
