"""What the tests need from the machine, and the lab fixtures.

Markers name the needs: `root`, `corosync`, `namespaces`. Where the thing is absent the test is skipped with the
reason; with CI=true in the environment it fails instead, so that nothing is left out unseen where everything ought
to be there.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from rondo.testing.lab.netns import Lab
from rondo.testing.lab.requirements import (
    corosync_missing,
    libsam_missing,
    namespaces_missing,
    notifyd_missing,
    pacemaker_missing,
    promtool_missing,
    root_missing,
)
from tests.cluster.browser.chromium import chromium_missing

LookForMissing = Callable[[], str | None]
NEEDS: dict[str, LookForMissing] = {
    "root": root_missing,
    "corosync": corosync_missing,
    "namespaces": namespaces_missing,
    "pacemaker": pacemaker_missing,
    "libsam": libsam_missing,
    "notifyd": notifyd_missing,
    "promtool": promtool_missing,
    "chromium": chromium_missing,
}


# A machine may be slow; how long an example takes says nothing of what it proves.
settings.register_profile("rondo", deadline=None)
settings.load_profile("rondo")


def pytest_configure(config: pytest.Config) -> None:
    # Who is started in the background of a script ignores SIGINT, and so would every command that is to be interrupted.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "namespaces: needs network namespaces (without root: user namespaces)")


def need(look: LookForMissing) -> None:
    """Skip the running test, or fail it under CI=true, if something is missing."""
    reason = look()
    if reason is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and with CI=true nothing may be missing", pytrace=False)
    pytest.skip(reason)


def need_root() -> None:
    """Go on only as root."""
    need(root_missing)


def need_corosync() -> None:
    """Go on only where Debian's corosync 3.1 is installed."""
    need(corosync_missing)


def need_namespaces() -> None:
    """Go on only where a lab of network namespaces can be made."""
    need(namespaces_missing)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Long tests come first. If they were last, one worker would run them while all others had nothing to do.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for name, look in NEEDS.items():
        if item.get_closest_marker(name) is not None:
            need(look)


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[Callable[[int], Lab]]:
    """A function that makes a lab of so many hosts; the labs are closed when the test is over, however it went.

    What the programs in them wrote is printed then, which pytest shows if the test has failed.
    """
    need_namespaces()
    with ExitStack() as stack:

        def make(host_count: int) -> Lab:
            lab = stack.enter_context(Lab(tmp_path, host_count))
            stack.callback(lambda: print(lab.outputs()))
            return lab

        yield make


@pytest.fixture
def lab(make_lab: Callable[[int], Lab]) -> Lab:
    """A lab of three hosts."""
    return make_lab(3)
