"""Knowing at once that another process of this machine has died."""

from __future__ import annotations

import contextlib
import os
import select


class ProcessWatch:
    """The life of one process. `fileno` becomes readable when it dies, where the kernel can say so (pidfd, Linux 5.3);
    elsewhere `fileno` is -1 and `is_alive` has to be asked now and then."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._gone = False
        self._fd = -1
        try:
            self._fd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._gone = True
        except (OSError, AttributeError):
            pass

    def fileno(self) -> int:
        """Descriptor to poll for reading, or -1."""
        return self._fd

    def is_alive(self) -> bool:
        """Whether it lives. A process of another user counts as well."""
        if self._gone:
            return False
        if self._fd >= 0:
            poller = select.poll()
            poller.register(self._fd, select.POLLIN)
            self._gone = bool(poller.poll(0))
        else:
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                self._gone = True
            except OSError:
                return True
        return not self._gone

    def close(self) -> None:
        """Stop watching."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1
