"""supervisord as Rondo runs it: it survives a full disk, and SIGHUP leaves its locks and descriptors alone.

`supervisor.supervisord` does all the work. Two things differ:

- Log files (its own, and those of the services) never raise. The original handlers report a failed write on standard
  error; that is a file in the same directory, and its exception would end supervisord.
- On SIGHUP the original closes all descriptors from 5 on, because it takes all of them for its own. The locks of the
  node and the pipe of the alarm may be among them.
"""

import sys
from pathlib import Path
from typing import Any

from supervisor import loggers
from supervisor.options import ServerOptions
from supervisor.states import SupervisorStates
from supervisor.supervisord import go

from rondo.node.append_file import AppendFile


class LogFile(loggers.Handler):  # type: ignore[misc]  # supervisor has no types
    """A log file that raises nothing."""

    def __init__(self, path: str, bytes_max: int) -> None:
        super().__init__()
        self.baseFilename = path
        self._file = AppendFile(Path(path), bytes_max)

    def emit(self, record: Any) -> None:
        """Write one record: a line of supervisord, or a piece of a service's output."""
        if isinstance(record.msg, bytes) and self.fmt == "%(message)s":
            self._file.write(record.msg)
        else:
            self._file.write((self.fmt % record.asdict()).encode(errors="replace"))

    def reopen(self) -> None:
        """SIGUSR2. A file that was moved is noticed anyway."""
        self._file.close()

    def remove(self) -> None:
        """`supervisorctl clear`."""
        self._file.close()
        Path(self.baseFilename).unlink(missing_ok=True)

    def flush(self) -> None:
        """Does nothing: no line is buffered."""

    def close(self) -> None:
        """No more lines come."""
        self._file.close()


def handle_file(
    logger: Any, filename: str, fmt: str, rotating: bool = False, maxbytes: int = 0, backups: int = 0
) -> None:
    """Replaces supervisor.loggers.handle_file, by which supervisord makes all log files."""
    handler = LogFile(filename, maxbytes if rotating and backups else 0)
    handler.setFormat(fmt)
    handler.setLevel(logger.level)
    logger.addHandler(handler)


class Options(ServerOptions):  # type: ignore[misc]
    """supervisord's options, and its calls to the system."""

    def cleanup_fds(self) -> None:
        """Before a restart: close nothing, since every open descriptor is needed."""


def main() -> None:
    """What `supervisor.supervisord.main` does, with these options."""
    loggers.handle_file = handle_file
    is_first = True
    while True:
        options = Options()
        options.realize(sys.argv[1:])
        options.first = is_first
        options.test = False
        go(options)
        options.close_httpservers()
        options.close_logger()
        is_first = False
        if options.mood < SupervisorStates.RESTARTING:
            break


if __name__ == "__main__":
    main()
