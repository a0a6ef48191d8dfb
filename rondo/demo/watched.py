"""The ledger of one node as an application under SAM: it may hang, and comes back as the next instance.

It is the same program, except that it is SAM's child and not the demo's: it takes its orders from a FIFO, and what it
says is read from the file in which SAM keeps its output.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import rondo
from rondo.cli.output import CommandError
from rondo.demo.application import Application
from rondo.sam.commands import Sam

INTERVAL_MS = 1000
LOOK_SECONDS = 0.05
STARTER = 'RONDO_SOCKET=$1; export RONDO_SOCKET; shift; exec "$@" < "$0"'
"""For sh: the FIFO is the standard input of what it becomes, and the next word is the node that it connects to."""


class WatchedApplication(Application):
    """A ledger that SAM has started."""

    def __init__(self, node_id: int, endpoint: str, rate: float, directory: Path) -> None:
        super().__init__(node_id)
        orders = directory / f"ledger-{node_id}.orders"
        os.mkfifo(orders, 0o600)
        # For reading too: the ledger finds a writer whenever it is started, and the FIFO never ends by itself.
        self._orders = os.open(orders, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._sam = Sam(endpoint)
        self._reader = Sam(endpoint)
        ledger = [sys.executable, "-P", "-m", "rondo.demo.replicated_ledger", str(rate), str(INTERVAL_MS)]
        try:
            self.id = str(
                self._sam.run(["sh", "-c", STARTER, str(orders), endpoint, *ledger], interval_ms=INTERVAL_MS)["id"]
            )
        except rondo.Error as error:
            raise CommandError(f"SAM of node {node_id} does not start the ledger: {error}") from None
        self._ending = threading.Event()
        self._listener = threading.Thread(target=self._follow, daemon=True)
        self._listener.start()

    def _follow(self) -> None:
        place, rest = (0, 0), b""
        while True:
            is_last = self._ending.is_set()
            with contextlib.suppress(rondo.Error):
                data, place, more = self._reader.logs(self.id, place)
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self.hear(line)
                if more:
                    continue
            if is_last:
                return
            time.sleep(LOOK_SECONDS)

    def status(self) -> dict[str, Any]:
        """What SAM says of it."""
        (found,) = self._sam.status(self.id)
        return found

    def hang(self) -> int:
        """SIGSTOP: it lives and does nothing any more. Returns its pid."""
        pid = int(self.status()["pid"])
        os.kill(pid, signal.SIGSTOP)
        self.taken_over = None
        return pid

    def is_restarted(self, instance: int) -> bool:
        """Whether that instance has the ledger."""
        status = self.status()
        return status["instance"] == instance and status["state"] == "started" and self.taken_over is not None

    def check(self) -> None:
        """Raises CommandError if SAM has given it up."""
        status = self.status()
        if status["state"] in ("failed", "stopped"):
            raise CommandError(f"the ledger on node {self.node_id} is {status['state']}: {status['message']}")

    def finish(self) -> None:
        """Ask it to end its transfers and, when it has, to report."""
        os.write(self._orders, b"finish\n")

    def kill(self) -> None:
        """Whatever the state of the node is."""
        self._close()

    def leave(self) -> None:
        """Have SAM stop it."""
        with contextlib.suppress(rondo.Error):
            self._sam.stop(self.id)
        self._close()

    def _close(self) -> None:
        if not self._ending.is_set():
            self._ending.set()
            self._listener.join()
            os.close(self._orders)
            self._sam.close()
            self._reader.close()
