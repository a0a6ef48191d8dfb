"""The quorum policies: which applications wait for quorum, and what follows its loss.

control reports one of two states, and everything follows from the last report:

quorate      waiting applications are started, or told that they have started
not quorate  started applications are ended: `quorum-quit` for good, as by `rondo sam stop`; `quorum-restart` until
             there is quorum again

No report is no loss. While control is dead, or has not answered yet, running applications go on and no new one is
started. An application under such a policy counts as started while it runs. If it is written for SAM, it counts between
its `start` and its `stop`.
"""

import logging
from typing import TYPE_CHECKING

from services.sam.application import QUORUM_LOST, Application, Phase, Policy, State

if TYPE_CHECKING:
    from services.sam.manager import Done, Manager

WAITS = "waits for quorum"
LOSS = "the loss of quorum"
WAITS_PER_USER_MAX = 32
"""Applications of one user whose start requests wait for quorum. At more, the oldest is told to ask again. The gateway
lets 64 requests of a user wait, and the user needs some for other requests."""
NO_PROVIDER = (
    "policy {} needs quorum, and the configuration has no quorum.provider; "
    "add `quorum {{ provider: corosync_votequorum }}`, or use another policy"
)

log = logging.getLogger("SAM")


class QuorumPolicies:
    """Brings the applications of the manager in line with quorum."""

    def __init__(self, manager: "Manager", *, has_provider: bool) -> None:
        """`has_provider`: a quorum provider is configured. It cannot change while the node runs."""
        self.quorate: bool | None = None
        """None: not known yet."""
        self._manager = manager
        self._has_provider = has_provider
        self._waiting: list[tuple[Application, Done]] = []
        """Requests that wait until an application has started."""

    def why_refused(self, policy: Policy) -> str:
        """Why this policy is not available here; empty if it is."""
        return NO_PROVIDER.format(policy.value) if policy.needs_quorum and not self._has_provider else ""

    def holds_back(self, application: Application) -> bool:
        """True if it must not be started now."""
        return application.policy.needs_quorum and self.quorate is not True

    def news(self, quorate: bool) -> None:
        """control reports whether there is quorum: again, or anew."""
        if quorate is not self.quorate:
            log.info("There is %squorum", "" if quorate else "no ")
        self.quorate = quorate
        for application in list(self._manager.applications.values()):
            self.see_to(application)
        if quorate:
            # Applications that stopped meanwhile by their health descriptor.
            for application in [each for each, _ in self._waiting]:
                self.forget(application)

    def see_to(self, application: Application) -> None:
        """Do what quorum demands for this application."""
        if application.state is State.WAITING_FOR_QUORUM:
            if not self.holds_back(application):
                self._release(application)
        elif self._is_to_end(application):
            self._end(application)

    def _is_to_end(self, application: Application) -> bool:
        return (
            application.policy.needs_quorum
            and self.quorate is False
            and application.phase is Phase.RUNNING
            and application.state is State.STARTED
            and application.kill_at_s is None
        )

    def _end(self, application: Application) -> None:
        manager = self._manager
        manager.counters["ended_without_quorum"] += 1
        log.warning("%s: instance %d is ended: %s", application.id, application.instance, QUORUM_LOST)
        if application.policy.restarts:
            manager.warn(application, QUORUM_LOST, application.grace_s())
        else:
            manager.stop(application, LOSS)

    def _release(self, application: Application) -> None:
        """End its waiting."""
        application.message = ""
        if application.phase is Phase.RUNNING:
            self._manager.hearing.watch(application, watched=True)
            self._tell(application, application)
        else:
            application.start_later("there is quorum", max(application.restart_at_s, self._manager.clock.now_s))

    def start(self, application: Application, when_started: "Done") -> None:
        """A registered application wants its health checks to begin: now, or when there is quorum."""
        if not self.holds_back(application):
            self._manager.hearing.watch(application, watched=True)
            when_started(application)
            return
        if application.state is State.REGISTERED:
            application.state, application.message = State.WAITING_FOR_QUORUM, WAITS
            self._manager.table.save(application)
        self.forget(application)  # a second request means that the connection of the first one was lost
        uid = application.owner.uid
        if sum(each.owner.uid == uid for each, _ in self._waiting) >= WAITS_PER_USER_MAX:
            self._manager.counters["waits_given_up"] += 1
            self.forget(next(each for each, _ in self._waiting if each.owner.uid == uid))
        self._waiting.append((application, when_started))

    def forget(self, application: Application) -> None:
        """Its process is gone, or does not want to start any more: its waiting request has to be repeated."""
        self._tell(application, None)

    def _tell(self, application: Application, what: Application | None) -> None:
        told = [call for each, call in self._waiting if each is application]
        self._waiting = [entry for entry in self._waiting if entry[0] is not application]
        for call in told:
            call(what)
