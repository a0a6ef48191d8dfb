"""Processes that are watched and are not children of the keeper: by a pidfd, from SAM.

Some were never SAM's (they have called `rondo.sam.register`), some are what a killed keeper has left.
"""

from collections.abc import Callable

from services.sam import procs
from services.sam.application import Application
from services.sam.loop import Loop
from services.sam.table import boot_id


class Adoptions:
    """All of them. `ended` is called when one has died; how, is not known."""

    def __init__(self, loop: Loop, ended: Callable[[Application], object]) -> None:
        self.boot = boot_id()
        """This boot of the machine: what was written in another one lives no more."""
        self._loop = loop
        self._ended = ended
        self._watches: dict[str, procs.Watch] = {}

    def __contains__(self, application: Application) -> bool:
        return application.id in self._watches

    def adopt(self, application: Application) -> bool:
        """Watch its process; False if that is dead."""
        if application.boot != self.boot:
            return False
        try:
            watch = procs.Watch(application.pid, application.start_time)
        except OSError:
            return False
        self._watches[application.id] = watch
        application.is_adopted = True
        self._loop.watch(watch.descriptor, lambda: self._died(application))
        return True

    def _died(self, application: Application) -> None:
        if application.leads_group:
            self._watches[application.id].kill_group()
        self._ended(application)

    def signal(self, application: Application, number: int) -> bool:
        """Send a signal, if it is one of these."""
        watch = self._watches.get(application.id)
        if watch is None:
            return False
        watch.send(number, to_group=application.leads_group)
        return True

    def release(self, application: Application) -> None:
        """Watch it no longer, if it is one of these."""
        watch = self._watches.pop(application.id, None)
        if watch is not None:
            self._loop.forget(watch.descriptor)
            watch.close()
