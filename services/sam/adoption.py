"""Watched processes that are not children of the keeper. SAM watches them by a pidfd.

Some were never started by SAM: they have called `rondo.sam.register`. Others were left by a killed keeper.
"""

import contextlib
import os
import signal
from collections.abc import Callable

from services.sam import procs
from services.sam.application import Application
from services.sam.loop import Loop
from services.sam.signals import rights_of, signal_group
from services.sam.table import boot_id


class Watch:
    """A process that is not a child of the keeper, held by a pidfd: a signal reaches this process and no other."""

    def __init__(self, pid: int, start_time: int, uid: int) -> None:
        """`uid`: the user with whose rights it is signalled. Raises ProcessLookupError if it is gone, OSError."""
        self.pid = pid
        self.start_time = start_time
        self.uid = uid
        self.descriptor = os.pidfd_open(pid)
        if not procs.is_alive(pid, start_time):
            os.close(self.descriptor)
            raise ProcessLookupError(pid)

    def send(self, number: int, *, to_group: bool) -> None:
        """Send a signal to it, or to it and its process group, whose number is its pid."""
        is_in_group = to_group and procs.leads_its_group(self.pid)
        with contextlib.suppress(PermissionError), rights_of(self.uid):
            if to_group:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    signal_group(self.descriptor, self.pid, self.start_time, number)
            if not is_in_group:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self.descriptor, number)

    def close(self) -> None:
        """Close the pidfd."""
        os.close(self.descriptor)


class Adoptions:
    """All watched processes of this kind. `ended` is called when one has died; how it ended is not known."""

    def __init__(self, loop: Loop, ended: Callable[[Application], object]) -> None:
        self.boot = boot_id()
        """This boot of the machine: a process that was recorded in another one is dead."""
        self._loop = loop
        self._ended = ended
        self._watches: dict[str, Watch] = {}

    def __contains__(self, application: Application) -> bool:
        return application.id in self._watches

    def adopt(self, application: Application) -> bool:
        """Watch its process; False if that is dead."""
        if application.boot != self.boot:
            return False
        try:
            watch = Watch(application.pid, application.start_time, application.owner.uid)
        except OSError:
            return False
        self._watches[application.id] = watch
        application.is_adopted = True
        self._loop.watch(watch.descriptor, lambda: self._died(application))
        return True

    def _died(self, application: Application) -> None:
        if application.leads_group:
            # The rest of its process group is killed, too.
            self._watches[application.id].send(signal.SIGKILL, to_group=True)
        self._ended(application)

    def signal(self, application: Application, number: int) -> bool:
        """Send a signal, if it is one of these processes."""
        watch = self._watches.get(application.id)
        if watch is None:
            return False
        watch.send(number, to_group=application.leads_group)
        return True

    def release(self, application: Application) -> None:
        """Stop watching it, if it is one of these processes."""
        watch = self._watches.pop(application.id, None)
        if watch is not None:
            self._loop.forget(watch.descriptor)
            watch.close()
