"""The quorum policies: who waits for quorum, and what follows its loss.

What control says is one of two words, and all else follows from the word that was said last:

quorate      who waits is started, or told that it has started
not quorate  who has started is ended: `quorum-quit` for good, as by `rondo sam stop`; `quorum-restart` until there is
             quorum again

No word is no loss: while control is dead, or has not answered yet, whoever runs goes on and nobody new is started.
Who runs under such a policy has started, unless it is written for SAM: then it is between its `start` and its `stop`.
"""

import logging
from typing import TYPE_CHECKING

from services.sam.application import QUORUM_LOST, Application, Phase, Policy, State

if TYPE_CHECKING:
    from services.sam.manager import Done, Manager

WAITS = "waits for quorum"
LOSS = "the loss of quorum"
WAITS_PER_USER_MAX = 32
"""Applications of one user whose request to start waits for quorum; of more, the one that waited longest asks again.
The gateway lets 64 requests of a user wait, and the user wants to ask for other things, too."""
NO_PROVIDER = (
    "policy {} needs quorum, and the configuration has no quorum.provider; "
    "add `quorum {{ provider: corosync_votequorum }}`, or use another policy"
)

log = logging.getLogger("SAM")


class QuorumPolicies:
    """Brings the applications of the manager in line with quorum."""

    def __init__(self, manager: "Manager", *, has_provider: bool) -> None:
        """`has_provider`: the configuration says who counts votes. It cannot change while the node runs."""
        self.quorate: bool | None = None
        """None: not known yet."""
        self._manager = manager
        self._has_provider = has_provider
        self._waiting: list[tuple[Application, Done]] = []
        """Who is to be told that an application has started."""

    def why_refused(self, policy: Policy) -> str:
        """Why nobody can have this policy here; empty if he can."""
        return NO_PROVIDER.format(policy.value) if policy.needs_quorum and not self._has_provider else ""

    def holds_back(self, application: Application) -> bool:
        """Whether it must not be started now."""
        return application.policy.needs_quorum and self.quorate is not True

    def news(self, quorate: bool) -> None:
        """Control says whether there is quorum: what it said last, or something new."""
        if quorate is not self.quorate:
            log.info("There is %squorum", "" if quorate else "no ")
        self.quorate = quorate
        for application in list(self._manager.applications.values()):
            self.see_to(application)
        if quorate:
            # Those that stopped meanwhile, by their health descriptor.
            for application in [each for each, _ in self._waiting]:
                self.forget(application)

    def see_to(self, application: Application) -> None:
        """Do what quorum wants of it now."""
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
        """It need not wait any longer."""
        application.message = ""
        if application.phase is Phase.RUNNING:
            self._manager.hearing.watch(application, watched=True)
            self._tell(application, application)
        else:
            application.start_later("there is quorum", max(application.restart_at_s, self._manager.clock.now_s))

    def start(self, application: Application, when_started: "Done") -> None:
        """An application that has registered wants its health checks to begin: now, or when there is quorum."""
        if not self.holds_back(application):
            self._manager.hearing.watch(application, watched=True)
            when_started(application)
            return
        if application.state is State.REGISTERED:
            application.state, application.message = State.WAITING_FOR_QUORUM, WAITS
            self._manager.table.save(application)
        self.forget(application)  # who asks again has lost the connection on which it had asked
        uid = application.owner.uid
        if sum(each.owner.uid == uid for each, _ in self._waiting) >= WAITS_PER_USER_MAX:
            self._manager.counters["waits_given_up"] += 1
            self.forget(next(each for each, _ in self._waiting if each.owner.uid == uid))
        self._waiting.append((application, when_started))

    def forget(self, application: Application) -> None:
        """Its process is gone, or does not want to start any more: who waits for its start has to ask again."""
        self._tell(application, None)

    def _tell(self, application: Application, what: Application | None) -> None:
        told = [call for each, call in self._waiting if each is application]
        self._waiting = [entry for entry in self._waiting if entry[0] is not application]
        for call in told:
            call(what)
