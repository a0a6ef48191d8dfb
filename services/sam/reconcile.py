"""After a restart of SAM or its keeper: what there is, by the table, by the keeper, and by the system.

The table says what SAM wanted when it was killed. The keeper says what became of that. Where there is another keeper
than the one that was asked, it has nothing to say, and the system is asked whether the process lives.
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
    """Brings the applications of the manager in line with what there is."""

    def __init__(self, manager: "Manager", keeper: KeeperLink) -> None:
        self._manager = manager
        self._keeper = keeper
        self._marked: dict[int, list[tuple[int, set[bytes]]]] = {}
        """Processes of each user that may be what was to be started, while that is being settled."""

    def listed(self, found: list[list[Any]]) -> None:
        """The keeper tells all that it has: settle what was not heard, and say again what it has not heard."""
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
        """A process that should not be there: a check of an earlier SAM, or an application without a record."""
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
        """Whether a start that was asked of a keeper which is no more has come to something, only the system knows."""
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
        """Looked for once for all applications of a user. Another node here may have one of the same name."""
        if uid not in self._marked:
            self._marked[uid] = list(procs.marked(socket_mark_of(self._manager.places), MARK, uid))
        return self._marked[uid]
