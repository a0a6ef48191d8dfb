"""supervisord as Rondo runs it: it survives a full disk, and SIGHUP leaves its locks and descriptors alone.

`supervisor.supervisord` does all the work. Three things differ:

- Log files (its own, and those of the services) never raise. The original handlers report a failed write on standard
  error; that is a file in the same directory, and its exception would end supervisord.
- On SIGHUP the original closes all descriptors from 5 on, because it takes all of them for its own. The locks of the
  node and the pipe of the alarm may be among them.
- Listening sockets that root has handed to the node are kept, and each qb_gateway inherits them (rondo.node.c_sockets).
"""

import os
import sys
from pathlib import Path
from typing import Any, ClassVar

from supervisor import loggers
from supervisor.options import ServerOptions
from supervisor.states import SupervisorStates
from supervisor.supervisord import go

from rondo.node import c_sockets
from rondo.node.append_file import AppendFile
from rondo.node.supervision import C_PROGRAMS


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

    c_sockets: ClassVar[frozenset[int]] = frozenset()
    """The descriptors of the sockets that root has handed over. They outlive a restart of supervisord (SIGHUP)."""

    def cleanup_fds(self) -> None:
        """Before a restart: close nothing, since every open descriptor is needed."""

    def close_fd(self, fd: int) -> None:
        """A child closes everything from 3 on, but must not lose the sockets before it knows what it becomes. They are
        closed by execve(2) where they are not wanted."""
        if fd not in self.c_sockets:
            super().close_fd(fd)

    def execve(self, filename: str, argv: list[str], env: dict[str, str]) -> None:
        """In a child: become a service. qb_gateway inherits the sockets."""
        if env.get("SUPERVISOR_PROCESS_NAME") == C_PROGRAMS:
            for each in self.c_sockets:
                os.set_inheritable(each, True)
            env = env | c_sockets.offer(self.c_sockets)
        super().execve(filename, argv, env)

    @classmethod
    def release_c_sockets(cls) -> None:
        """Nobody will accept at them again: programs that connect are to be refused, and not to wait."""
        for each in cls.c_sockets:
            os.close(each)
        cls.c_sockets = frozenset()


def main() -> None:
    """What `supervisor.supervisord.main` does, with these options."""
    loggers.handle_file = handle_file
    Options.c_sockets = frozenset(c_sockets.offered(os.environ))
    for each in Options.c_sockets:
        os.set_inheritable(each, False)
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
