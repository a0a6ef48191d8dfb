"""Progress of what takes long: one line on standard error, in place, gone when it is done; on a terminal only.

What is done in an instant shows nothing. The line is drawn by a thread of its own, for most of what takes long waits.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from types import TracebackType

from rondo.cli.text import cut

DELAY_S = 0.5
"""What is done by then shows nothing."""
REDRAW_S = 0.5
ERASE = "\r\x1b[K"


class Progress:
    """`with Progress("starting the node") as progress: ... progress.step("waiting for a ring")`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._stream = sys.stderr
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def step(self, text: str) -> None:
        """What is being done now."""
        self._text = text

    def __enter__(self) -> Progress:
        if self._stream is not None and self._stream.isatty():
            self._began_s = time.monotonic()
            self._thread = threading.Thread(target=self._draw, name="progress", daemon=True)
            self._thread.start()
        return self

    def _draw(self) -> None:
        wait_s = DELAY_S
        while not self._ended.wait(wait_s):
            wait_s = REDRAW_S
            columns = shutil.get_terminal_size().columns
            text = f"{self._text} ({time.monotonic() - self._began_s:.0f} s)"
            self._write(ERASE + cut(text, columns - 1))
        self._write(ERASE)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._ended.set()  # the terminal is gone, and what is being done goes on

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
