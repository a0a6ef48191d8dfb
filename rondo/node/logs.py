"""Logs in Corosync's format: `2026-11-22T16:00:01.123+01:00 notice  [TOTEM ] message`.

They go to standard error, to a file, to syslog or to the journal, as text or as JSON (log_formats). The time is ISO
8601 with the zone. Corosync's has neither zone nor year, so its logs of several machines or years are hard to compare.

A separate thread writes the lines, so that a slow disk or a full pipe never holds up the service. If the thread cannot
keep up, lines are dropped and counted. A file that cannot be written loses lines, and nothing else (append_file).

Besides Python's levels there is Corosync's `notice`, for what an operator wants to see in a healthy cluster, too.
Loggers are named by subsystem: `logging.getLogger("TOTEM")`.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rondo.config.node import LogSettings
from rondo.node import journal
from rondo.node.append_file import AppendFile
from rondo.node.log_formats import NOTICE, JsonFormat, SyslogFormat, TextFormat
from rondo.node.repeats import Repeats

LINES_WAITING_MAX = 4096
"""How many lines may wait for the writing thread. Further ones are dropped and counted."""

CLOSE_SECONDS = 2.0

SYSLOG_SOCKET = "/dev/log"
SAID_ON_STDERR = {"said_on_stderr": True}
"""`extra` of a line that is on standard error already. Only the other outputs write it."""

_Lines = queue.Queue[logging.LogRecord | Callable[[], None] | None]
"""Items for the writing thread: lines, functions to call, and None for the end."""

LEVELS = {
    "emerg": logging.CRITICAL,
    "alert": logging.CRITICAL,
    "crit": logging.CRITICAL,
    "err": logging.ERROR,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "notice": NOTICE,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": logging.DEBUG,
}


class LogError(Exception):
    """Logging cannot be set up as configured. The text gives the remedy, in one line."""


def notice(logger: logging.Logger, message: str, *arguments: object) -> None:
    """Log at level notice."""
    logger.log(NOTICE, message, *arguments)


class Logs:
    """The log of this process, from `start` to `close`."""

    def __init__(self, settings: LogSettings, source: str = "") -> None:
        """`source`: the service. Raises `LogError` if the log file cannot be opened."""
        self._settings = settings
        self._source = source
        self._repeats = Repeats()
        self._lost = 0
        """Lines that the outputs of earlier settings have lost."""
        self._queue: _Lines = queue.Queue(LINES_WAITING_MAX)
        self._handler = _Handing(self._queue)
        self._outputs = outputs(settings, source)
        self._failed = 0
        """Lines for which an output has raised an error."""
        self._writer = threading.Thread(target=self._write, name="log", daemon=True)

    def start(self) -> None:
        """From here on, write everything that this process logs."""
        root = logging.getLogger()
        root.handlers[:] = [self._handler]
        root.setLevel(min((each.level for each in self._outputs), default=logging.CRITICAL))
        logging.raiseExceptions = False  # a log that cannot be written must not write about itself
        self._writer.start()

    def set_level(self, name: str) -> None:
        """Log from this level on (`debug`, `info`, `notice`, `warning`, `err` ...). Raises ValueError."""
        if name not in LEVELS:
            raise ValueError(f"no log level {name!r}; there are {' '.join(LEVELS)}")
        for each in self._outputs:
            each.setLevel(LEVELS[name])
        logging.getLogger().setLevel(LEVELS[name])

    def change(self, settings: LogSettings) -> None:
        """Apply new settings. Raises `LogError`, and then nothing has changed."""
        if settings == self._settings:
            return
        made = outputs(settings, self._source)
        try:
            self._queue.put_nowait(lambda: self._replace(made))
        except queue.Full:
            raise LogError("too many lines wait to be logged; try again") from None
        self._settings = settings
        logging.getLogger().setLevel(min((each.level for each in made), default=logging.CRITICAL))

    def _replace(self, outputs: list[logging.Handler]) -> None:
        former, self._outputs = self._outputs, outputs
        for each in former:
            self._lost += each.file.lost if isinstance(each, _File) else 0
            each.close()

    def reopen(self) -> None:
        """Reopen the log file at once. A file that was moved away is noticed anyway, at the next line."""
        with contextlib.suppress(queue.Full):  # the queue is full: the next line comes soon, and reopens the file
            self._queue.put_nowait(self._reopen)

    def _reopen(self) -> None:
        for each in self._outputs:
            if isinstance(each, _File):
                with contextlib.suppress(OSError):  # lines go on into the open file
                    each.file.open()

    @property
    def dropped(self) -> int:
        """Lines lost because they could not be written, or not fast enough."""
        files = [each for each in self._outputs if isinstance(each, _File)]
        return self._handler.dropped + self._failed + self._lost + sum(each.file.lost for each in files)

    def close(self) -> None:
        """Write what waits, if that takes at most `CLOSE_SECONDS`: a full pipe must not keep the service alive."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=CLOSE_SECONDS)
        self._writer.join(CLOSE_SECONDS)

    def _write(self) -> None:
        while (record := self._next()) is not None:
            if not isinstance(record, logging.LogRecord):
                record()
                continue
            self._put_all(self._repeats.put(record, time.monotonic()))
        self._put_all(self._repeats.flush())
        for each in self._outputs:
            each.close()

    def _next(self) -> logging.LogRecord | Callable[[], None] | None:
        """The next item of the queue. While there is none, joined repeats are reported."""
        if (due_s := self._repeats.due_s) is not None:
            with contextlib.suppress(queue.Empty):
                return self._queue.get(timeout=max(0.0, due_s - time.monotonic()))
            self._put_all(self._repeats.flush())
        return self._queue.get()

    def _put_all(self, records: list[logging.LogRecord]) -> None:
        for record in records:
            for each in self._outputs:
                if record.levelno >= each.level:
                    self._put(each, record)

    def _put(self, output: logging.Handler, record: logging.LogRecord) -> None:
        """Write one line to one output. Whatever goes wrong, the thread goes on."""
        try:
            output.handle(record)
        except Exception:
            self._failed += 1


class _File(logging.Handler):
    """A log file."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        super().__init__()
        self.file = AppendFile(path)
        self.file.open()

    def emit(self, record: logging.LogRecord) -> None:
        self.file.write(f"{self.format(record)}\n".encode(errors="backslashreplace"))

    def close(self) -> None:
        self.file.close()
        super().close()


class _Handing(logging.handlers.QueueHandler):
    """Hands lines to the writing thread, or drops them; never blocks."""

    def __init__(self, lines: _Lines) -> None:
        super().__init__(lines)
        self.dropped = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


def outputs_beside_stderr(settings: LogSettings, source: str = "") -> list[logging.Handler]:
    """The configured file and syslog, for a process that uses standard error otherwise. Raises `LogError`."""
    return outputs(replace(settings, to_stderr=False), source, has_last_resort=False)


def outputs(settings: LogSettings, source: str = "", *, has_last_resort: bool = True) -> list[logging.Handler]:
    """The outputs for lines of this service. Raises `LogError`."""
    outputs: list[logging.Handler] = []
    debugging = settings.debug != "off"

    def add(handler: logging.Handler, priority: str, *, host: bool) -> None:
        handler.setLevel(logging.DEBUG if debugging else LEVELS[priority])
        is_json = settings.format == "json"
        handler.setFormatter(JsonFormat(settings, source) if is_json else TextFormat(settings, host=host))
        outputs.append(handler)

    if settings.to_stderr:
        stream = logging.StreamHandler(sys.stderr)
        stream.addFilter(lambda record: not hasattr(record, *SAID_ON_STDERR))
        add(stream, settings.logfile_priority, host=False)
    if settings.to_logfile and settings.logfile:
        try:
            handler = _File(Path(settings.logfile))
        except OSError as error:
            raise LogError(
                f"{settings.logfile}: cannot be opened for the log: {error.strerror}; "
                "make its directory writable, or set logging.logfile"
            ) from None
        add(handler, settings.logfile_priority, host=True)
    if settings.to_syslog:
        facility = logging.handlers.SysLogHandler.facility_names.get(settings.syslog_facility, 3)
        alone = settings.is_syslog_alone and has_last_resort
        syslog = _Syslog(facility, TextFormat(settings, host=False) if alone else None)
        syslog.ident = f"rondo[{os.getpid()}]: "
        taker = journal.Journal(facility, source, syslog) if journal.is_there() else syslog
        add(taker, settings.syslog_priority, host=False)
        syslog.setFormatter(JsonFormat(settings, source) if settings.format == "json" else SyslogFormat())
    return outputs


class _Syslog(logging.handlers.SysLogHandler):
    """syslog with the level notice. It copes with an absent syslog daemon (in a container, or during its restart).

    Each line is a new attempt. If no other output has a line that fails, it goes to standard error.
    """

    def __init__(self, facility: int, last_resort: logging.Formatter | None) -> None:
        self._last_resort = last_resort
        self._told = False
        super().__init__(SYSLOG_SOCKET, facility=facility)

    def createSocket(self) -> None:  # noqa: N802 - the name of the base class
        """Connect. If nobody listens, only single lines fail."""
        with contextlib.suppress(OSError):
            super().createSocket()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name of the base class
        """Handle a line that syslog has not taken."""
        if self._last_resort is None or hasattr(record, *SAID_ON_STDERR):
            return
        if not self._told:
            self._told = True
            text = f"Nothing listens on {SYSLOG_SOCKET} (logging.to_syslog): standard error has the lines meanwhile."
            about = logging.LogRecord("MAIN", logging.WARNING, __file__, 0, text, None, None)
            print(self._last_resort.format(about), file=sys.stderr)
        with contextlib.suppress(OSError):
            print(self._last_resort.format(record), file=sys.stderr, flush=True)

    def mapPriority(self, levelName: str) -> str:  # noqa: N802, N803 - the names of the base class
        return "notice" if levelName == "NOTICE" else super().mapPriority(levelName)


logging.addLevelName(NOTICE, "NOTICE")
