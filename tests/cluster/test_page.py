"""The page in a real browser, on three nodes: it shows what happens, to everybody, and loads nothing from elsewhere."""

import json
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.cluster.browser.scene import PAGE, Scene, scene

AXE = Path(__file__).parent / "browser/axe/axe.min.js"
SERIOUS = ("serious", "critical")
SEEN_WITHIN_S = 1.0
"""Allowed delay of the page after the ring itself has changed."""
ATTEMPTS_MAX = 3
"""Of which one must be that soon: the machine may be busy with other things."""
SCREENS = ((1280, 900, False, False), (1280, 900, True, False), (360, 740, False, True))

MEMBERS = "[...document.querySelectorAll('#nodes tr')].map((row) => row.cells[1].textContent)"


def members(*states: str) -> str:
    """A condition: what the table says of each node begins so."""
    return f"{MEMBERS}.map((text) => text.split(' ')[0]).join() === '{','.join(states)}'"


def seen_after_s(there: Scene, *states: str) -> float:
    """How long after the ring had changed the page shows it, s."""
    seen_s = there.browser.seen(members(*states))
    took_s = seen_s - there.formed_s(1)
    print(f"{states}: on the page {1000 * took_s:.0f} ms after the ring had changed")
    return took_s


def serious(there: Scene) -> list[dict[str, Any]]:
    """The findings of axe-core on the present page."""
    there.browser.evaluate(AXE.read_text(encoding="utf-8"))
    found = json.loads(there.browser.evaluate("axe.run().then((found) => JSON.stringify(found.violations))"))
    return [
        {"rule": each["id"], "impact": each["impact"], "nodes": [node["html"] for node in each["nodes"]]}
        for each in found
        if each["impact"] in SERIOUS
    ]


@pytest.mark.slow
@pytest.mark.namespaces
@pytest.mark.chromium
def test_the_page_in_a_browser(tmp_path: Path) -> None:
    with scene(tmp_path) as there:
        browser = there.browser
        browser.be(1280, 900)
        browser.open(PAGE)
        browser.seen(members("member", "member", "member"))
        browser.seen("document.getElementById('groups').innerText.includes('ledger')")
        browser.seen(
            "[...document.querySelectorAll('#groups tr')].every((row) => /^[0-9]/.test(row.cells[1].innerText))"
        )
        browser.seen("document.getElementById('applications').innerText.includes('sleep-')")
        for node in (1, 2):
            browser.seen(
                f"[...document.querySelectorAll('#applications tr')].some((row) => row.cells[0].innerText === '{node}'"
                " && row.cells[1].innerText.startsWith('sleep-') && row.cells[2].innerText === 'started')"
            )
        browser.seen("document.getElementById('instances').innerText.includes('it runs')")
        assert browser.evaluate("document.title") == "Rondo example node 1"
        browser.seen("document.getElementById('events').innerText.includes('ring.formed')")
        for node in (2, 3):
            browser.seen(
                f"[...document.querySelectorAll('#events tr')].some((row) => row.cells[1].textContent === '{node}')"
            )
        browser.seen("document.querySelectorAll('#cluster tr').length === 3")
        browser.seen(
            "[...document.querySelectorAll('#plots polyline')].filter((line) => line.points.length > 1).length >= 3"
        )

        browser.seen(
            "[...document.querySelectorAll('#minutes tr')].filter((row) => /at most/.test(row.innerText)).length === 3"
        )

        assert browser.evaluate("document.querySelectorAll('#log tr').length") == 1, "nobody has asked for a log"
        browser.evaluate("document.getElementById('log-node').value = '/api/v1/nodes/3/log'")
        browser.evaluate("document.getElementById('log-show').click()")
        browser.seen("document.getElementById('log-state').innerText.startsWith('node 3, ')")
        browser.seen("document.getElementById('log').innerText.includes('A new membership')")

        took_s: list[float] = []
        while not took_s or (min(took_s) >= SEEN_WITHIN_S and len(took_s) < ATTEMPTS_MAX):
            there.faults.partition({1, 2}, {3})
            gone_s = seen_after_s(there, "member", "member", "absent")
            there.faults.heal()
            took_s.append(max(gone_s, seen_after_s(there, "member", "member", "member")))
        assert min(took_s) < SEEN_WITHIN_S, took_s
        there.nodes[2].send(signal.SIGKILL)
        seen_after_s(there, "member", "absent", "member")

        for width, height, dark, is_phone in SCREENS:
            browser.be(width, height, dark=dark, is_phone=is_phone)
            assert serious(there) == [], f"{width} wide, {'dark' if dark else 'light'}"
            assert browser.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
        assert {urlsplit(each).netloc for each in browser.requested() if not each.startswith("about:")} == {
            urlsplit(PAGE).netloc
        }
        assert browser.complaints() == []
