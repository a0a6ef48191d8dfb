"""After a restart of SAM or its keeper: compare the table, the keeper's list, and the system.

The table tells what SAM wanted when it was killed. The keeper tells what became of that. A new keeper knows nothing, so
then the system is asked whether the process lives.
"""

import logging
import signal
import time
from typing import TYPE_CHECKING, Any

from services.sam import procs
from services.sam.application import Application, Phase
from services.sam.checks import SEPARATOR
from services.sam.keeper.wire import Say
from services.sam.keeper_link import KeeperLink
from services.sam.signals import start_time_of
from services.sam.spec import MARK, mark_of, socket_mark_of

if TYPE_CHECKING:
    from services.sam.manager import Manager

log = logging.getLogger("SAM")


class Reconciliation:
    """Brings the applications of the manager in line with the actual processes."""

    def __init__(self, manager: "Manager", keeper: KeeperLink) -> None:
        self._manager = manager
        self._keeper = keeper
        self._marked: dict[int, list[tuple[int, set[bytes]]]] = {}
        """By user: processes that may be the ones to be started, while that is being settled."""

    def listed(self, found: list[list[Any]]) -> None:
        """The keeper has sent its list: process the reports that were missed, and repeat the orders that it missed."""
        manager = self._manager
        by_id = {}
        for key, instance, pid, start_time, ending in found:
            application = manager.applications.get(key)
            if application is None or application.instance != instance or application.is_over:
                self._disown(key, instance, ending)
            else:
                by_id[key] = (pid, start_time, ending)
        for application in list(manager.applications.values()):
            if application.has_process and application not in manager.adoptions:
                if application.id in by_id:
                    self._settle(application, *by_id[application.id])
                else:
                    self._settle_without_keeper(application)
        self._marked.clear()

    def _disown(self, key: str, instance: int, ending: list[Any] | None) -> None:
        """Kill a process that should not exist: a check of an earlier SAM, or an application without a record."""
        if ending is None:
            if SEPARATOR not in key:
                log.warning("Killing what is left of %s: there is no record of it", key)
            self._keeper.say([Say.SIGNAL, key, instance, signal.SIGKILL])
        self._keeper.say([Say.FORGET, key, instance])

    def _settle(self, application: Application, pid: int, start_time: int, ending: list[Any] | None) -> None:
        manager = self._manager
        manager.hearing.listen(application)
        if application.phase is Phase.STARTING and (ending is None or not ending[2]):
            manager.runs(application, pid, start_time)
        application.attend(manager.clock.now_s)
        if ending is not None:
            manager.on_ended(application.id, application.instance, ending)

    def _settle_without_keeper(self, application: Application) -> None:
        manager = self._manager
        fifo, log_file = manager.places.output_of(application.id)
        self._keeper.say([Say.DRAIN, application.id, fifo, log_file, application.owner.uid])
        if application.phase is Phase.STARTING:
            self._settle_start(application)
        elif not manager.adopt(application):
            manager.ended(application, None)

    def _settle_start(self, application: Application) -> None:
        """The keeper that was asked to start this is gone. Find out from the system whether it did."""
        manager = self._manager
        for pid, marks in self._marked_of(application.owner.uid):
            if mark_of(application) not in marks:
                continue
            application.started_unix_time = time.time()
            manager.runs(application, pid, start_time_of(pid))
            if manager.adopt(application):
                return
        manager.spawn_again(application)

    def _marked_of(self, uid: int) -> list[tuple[int, set[bytes]]]:
        """Searched once for all applications of a user. Another node here may have an application of the same name."""
        if uid not in self._marked:
            self._marked[uid] = list(procs.marked(socket_mark_of(self._manager.places), MARK, uid))
        return self._marked[uid]
