"""The terminal of `rondo top`: frames in place, one key at a time, and everything as it was afterwards."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import termios
import tty
from types import TracebackType

HOME, LINE_END, REST = "\x1b[H", "\x1b[K", "\x1b[J"
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


class Screen:
    """Standard output, which is a terminal. Keys are read where standard input is one too."""

    def __enter__(self) -> Screen:
        # A signal that comes between the last look and the wait ends the wait all the same.
        self._signalled, self._signal = socket.socketpair()
        self._signal.setblocking(False)
        self._former = signal.set_wakeup_fd(self._signal.fileno(), warn_on_full_buffer=False)
        self._keys = sys.stdin.fileno() if sys.stdin.isatty() else None
        if self._keys is not None:
            self._before = termios.tcgetattr(self._keys)
            tty.setcbreak(self._keys)
        sys.stdout.write(HIDE_CURSOR + HOME + REST)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._former)
        self._signal.close()
        self._signalled.close()
        sys.stdout.write(SHOW_CURSOR)
        sys.stdout.flush()
        if self._keys is not None:
            termios.tcsetattr(self._keys, termios.TCSADRAIN, self._before)

    def size(self) -> tuple[int, int]:
        """Columns, and lines but the last one, where the cursor stays."""
        size = os.get_terminal_size(sys.stdout.fileno())
        return max(1, size.columns or 80), max(1, (size.lines or 24) - 1)

    def show(self, lines: list[str]) -> None:
        """A frame in place of the one before, without a flicker."""
        sys.stdout.write(HOME + "".join(f"{line}{LINE_END}\n" for line in lines) + REST)
        sys.stdout.flush()

    def key(self, timeout_s: float) -> str:
        """The next key, empty if none is pressed in that time, or a signal comes."""
        watched = [self._signalled.fileno(), *([] if self._keys is None else [self._keys])]
        ready = select.select(watched, [], [], timeout_s)[0]
        if self._signalled.fileno() in ready:
            self._signalled.recv(4096)
        if self._keys is None or self._keys not in ready:
            return ""
        pressed = os.read(self._keys, 1)
        if not pressed:
            self._keys = None  # the terminal is gone
        return pressed.decode("latin-1")
