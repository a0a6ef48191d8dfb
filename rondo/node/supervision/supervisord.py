"""supervisord as Rondo runs it: a full disk does not end it, and SIGHUP leaves its locks and descriptors alone.

What is other than in `supervisor.supervisord`, which does all the work:

- Log files (its own, and those of the services) never raise. Its own handlers print to standard error what they could
  not write; that is a file of the same directory, and the exception of this ended supervisord.
- On SIGHUP it closes all descriptors from 5 on, as it knows of none that is not its own. The locks of the node and the
  pipe of the alarm may be among them.
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
    """A log file that is told of everything and raises nothing."""

    def __init__(self, path: str, bytes_max: int) -> None:
        super().__init__()
        self.baseFilename = path
        self._file = AppendFile(Path(path), bytes_max)

    def emit(self, record: Any) -> None:
        """Write one record: a line of supervisord, or a piece of what a service has printed."""
        if isinstance(record.msg, bytes) and self.fmt == "%(message)s":
            self._file.write(record.msg)
        else:
            self._file.write((self.fmt % record.asdict()).encode(errors="replace"))

    def reopen(self) -> None:
        """SIGUSR2. A file that was moved is noticed in any case."""
        self._file.close()

    def remove(self) -> None:
        """`supervisorctl clear`."""
        self._file.close()
        Path(self.baseFilename).unlink(missing_ok=True)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """No more comes."""
        self._file.close()


def handle_file(
    logger: Any, filename: str, fmt: str, rotating: bool = False, maxbytes: int = 0, backups: int = 0
) -> None:
    """In the place of supervisor.loggers.handle_file, which supervisord makes all log files with."""
    handler = LogFile(filename, maxbytes if rotating and backups else 0)
    handler.setFormat(fmt)
    handler.setLevel(logger.level)
    logger.addHandler(handler)


class Options(ServerOptions):  # type: ignore[misc]
    """supervisord's options, and what it does to the system."""

    def cleanup_fds(self) -> None:
        """Before a restart: whatever is open is there for a reason."""


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
