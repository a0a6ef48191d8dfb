"""SAM starts its keeper whatever the run directory is like."""

import select
import time
from pathlib import Path

from rondo.config.node import SamSettings
from rondo.node.process_watch import ProcessWatch
from services.sam.keeper.wire import Say
from services.sam.keeper_link import KeeperLink
from services.sam.loop import Loop

PATIENCE_S = 30.0


def test_a_keeper_is_started_where_its_log_cannot_be_made(tmp_path: Path) -> None:
    """A full disk, for one: what it has to say is lost, and it does its work."""
    (tmp_path / "log").write_text("not a directory")
    poll = select.epoll()
    loop = Loop(poll)
    link = KeeperLink(tmp_path, loop, SamSettings())
    link.is_wanted = True
    deadline = time.monotonic() + PATIENCE_S
    while not link.pid:
        link.tend(time.monotonic())
        assert time.monotonic() < deadline
    link.is_ready = True
    keeper = ProcessWatch(link.pid)
    link.say([Say.END])
    link.flush()
    while keeper.is_alive():
        assert time.monotonic() < deadline
    keeper.close()
    link.tend(time.monotonic())
    link.close()
    poll.close()
