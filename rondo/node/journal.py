"""The journal of systemd, in its own protocol: lines with fields. `journalctl RONDO_EVENT=ring.formed` finds them.

Where the journal listens it takes the place of syslog. (systemd, "Native Journal Protocol": KEY=value lines in one
datagram.)
"""

from __future__ import annotations

import logging
import os
import socket

from rondo.node.log_formats import NOTICE, text_of

JOURNAL_SOCKET = "/run/systemd/journal/socket"
TEXT_CHARACTERS_MAX = 16_000
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (NOTICE, 5), (logging.INFO, 6))
"""The priorities of syslog(3), each with the lowest level of Python that has it."""


def is_there() -> bool:
    """Whether a journal can be reached."""
    return os.path.exists(JOURNAL_SOCKET)


class Journal(logging.Handler):
    """Sends lines to the journal. A line that it does not take goes to `otherwise`."""

    def __init__(self, facility: int, source: str, otherwise: logging.Handler) -> None:
        super().__init__()
        from rondo.timeline.match import match

        self._match = match
        self._facility, self._source, self._otherwise = facility, source, otherwise
        self._plain = logging.Formatter()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._socket.sendto(self._datagram(record), JOURNAL_SOCKET)
        except OSError:
            self._otherwise.handle(record)

    def _datagram(self, record: logging.LogRecord) -> bytes:
        text = text_of(self._plain, record)[:TEXT_CHARACTERS_MAX]
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
        fields: dict[str, object] = {
            "MESSAGE": text, "PRIORITY": priority, "SYSLOG_FACILITY": self._facility, "SYSLOG_IDENTIFIER": "rondo",
            "SYSLOG_PID": os.getpid(), "RONDO_SERVICE": self._source, "RONDO_SUBSYSTEM": record.name,
            "CODE_FILE": record.filename, "CODE_LINE": record.lineno, "CODE_FUNC": record.funcName,
        }  # fmt: skip
        if (found := self._match(self._source, text)) is not None:
            name, detail = found
            fields["RONDO_EVENT"] = name
            for key, value in detail.items():
                shown = " ".join(map(str, value)) if isinstance(value, list) else value
                fields[f"RONDO_{key.upper()}"] = shown
        return "".join(f"{key}={value}\n" for key, value in fields.items()).encode(errors="backslashreplace")

    def close(self) -> None:
        self._socket.close()
        self._otherwise.close()
        super().close()
