"""The ledger of one node as an application under SAM: it may hang, and comes back as the next instance.

It is the same program, but a child of SAM and not of the demo. It takes orders from a FIFO, and its output is read from
the file in which SAM keeps it.
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
"""For sh: the FIFO becomes the program's standard input; the next word is the endpoint that it connects to."""


class WatchedApplication(Application):
    """A ledger that SAM has started."""

    def __init__(self, node_id: int, endpoint: str, rate: float, directory: Path) -> None:
        super().__init__(node_id)
        orders = directory / f"ledger-{node_id}.orders"
        os.mkfifo(orders, 0o600)
        # Opened for reading, too: so the ledger always finds a writer, and the FIFO never ends.
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
        """SAM's status of it."""
        (found,) = self._sam.status(self.id)
        return found

    def hang(self) -> int:
        """SIGSTOP: it lives and does nothing more. Returns its pid."""
        pid = int(self.status()["pid"])
        os.kill(pid, signal.SIGSTOP)
        self.taken_over = None
        return pid

    def is_restarted(self, instance: int) -> bool:
        """True if that instance has received the ledger."""
        status = self.status()
        return status["instance"] == instance and status["state"] == "started" and self.taken_over is not None

    def check(self) -> None:
        """Raises CommandError if SAM has given it up."""
        status = self.status()
        if status["state"] in ("failed", "stopped"):
            raise CommandError(f"the ledger on node {self.node_id} is {status['state']}: {status['message']}")

    def finish(self) -> None:
        """Ask it to end its transfers and then to report."""
        os.write(self._orders, b"finish\n")

    def kill(self) -> None:
        """Kill it, whatever the state of the node is."""
        self._close()

    def leave(self) -> None:
        """Tell SAM to stop it."""
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
