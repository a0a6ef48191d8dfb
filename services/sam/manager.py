"""The life of applications: started, heard, warned, killed, ended, restarted. `requests` handles users' requests.

SAM records every step before it is done, and the keeper forgets no end before SAM has recorded it. After a kill at any
point, SAM learns the state from the table and from the keeper (`reconcile`), and continues from there.

The keeper starts a process of an application only if it has none. So two at a time are impossible.
"""

import contextlib
import logging
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from rondo.node.logs import notice
from services.sam import procs
from services.sam.adoption import Adoptions
from services.sam.application import (
    QUICK_ENDS_MAX,
    STOP_GRACE_MS_MAX,
    WAITING_MAX,
    Application,
    Due,
    End,
    Phase,
    Policy,
    State,
    ending_text,
    refusal_text,
    signal_name,
)
from services.sam.checks import SEPARATOR, Checks
from services.sam.clock import AwakeClock
from services.sam.health import LOOK_S, HealthPipes
from services.sam.hearing import Hearing
from services.sam.keeper.output import make_fifo
from services.sam.keeper.wire import Say
from services.sam.keeper_link import KeeperLink
from services.sam.loop import Loop
from services.sam.past import Past
from services.sam.quorum_policy import WAITS, QuorumPolicies
from services.sam.quotas import Quotas
from services.sam.reconcile import Reconciliation
from services.sam.spec import Places, spec_of
from services.sam.table import Table

KILL_AGAIN_S = 1.0
START_LATER_S = 0.1
"""When a user's rate of starts is exceeded, the next attempt comes after this time."""
UNWATCHED_LOOK_S = 0.1
"""The interval of looks at health FIFOs while no application is watched; one may want to begin."""

log = logging.getLogger("SAM")
Done = Callable[[Application | None], object]
"""Called with the application when the awaited event has come; with None if the request has to be repeated."""


class Manager:
    """All applications."""

    def __init__(
        self,
        table: Table,
        keeper: KeeperLink,
        pipes: HealthPipes,
        loop: Loop,
        clock: AwakeClock,
        places: Places,
        quotas: Quotas,
        *,
        has_quorum_provider: bool,
    ) -> None:
        self.applications: dict[str, Application] = {}
        self.counters: Counter[str] = Counter()
        self.places = places
        self.table = table
        self.clock = clock
        self.quotas = quotas
        self.past = Past(self.applications, table, places, quotas)
        self.adoptions = Adoptions(loop, lambda application: self.ended(application, None))
        self._keeper = keeper
        self.hearing = Hearing(self.applications, pipes, table, clock, places, self.counters, self.mark_failed)
        self._checks = Checks(keeper, places)
        self.quorum = QuorumPolicies(self, has_provider=has_quorum_provider)
        self._reconciliation = Reconciliation(self, keeper)
        self._when_runs: dict[str, list[Done]] = {}
        self._when_over: dict[str, list[Done]] = {}

    # -- after a restart -----------------------------------------------------------------------------------------

    def load(self) -> None:
        """Read the table. Open questions are settled when the keeper has sent its list (`on_listed`), or if there is no
        keeper."""
        for application in self.table.load():
            self.applications[application.id] = application
            # The clock of an earlier SAM does not apply: the full time is waited again.
            application.restart_at_s = self.clock.now_s + application.back_off_s()
        if any(not each.is_over for each in self.applications.values()):
            self._keeper.is_wanted = True

    def on_listed(self, found: list[list[Any]]) -> None:
        """The keeper sends its list when asked, after a restart of SAM or of the keeper."""
        self._reconciliation.listed(found)

    def adopt(self, application: Application) -> bool:
        """Watch a process that is not a child of the keeper. False if it is dead."""
        if not self.adoptions.adopt(application):
            return False
        self.hearing.listen(application)
        application.attend(self.clock.now_s)
        return True

    def on_dropped(self, uid: int, count: int) -> None:
        """A user's output has reached its limit, and the keeper has dropped the oldest part."""
        self.counters["output_bytes_dropped"] += count
        log.warning(
            "The output of applications has reached its limit: the oldest %d bytes of user %d are dropped "
            "(sam.output_bytes_per_user_max, sam.output_bytes_max)", count, uid,
        )  # fmt: skip

    def on_keeper_lost(self) -> None:
        """The keeper was killed. Its children live; the next keeper cannot be their parent, so SAM watches them."""
        log.error("The keeper was killed; its applications go on, but how they end will not be known")
        self.counters["keepers_lost"] += 1

    # -- start --------------------------------------------------------------------------------------------------

    def add(self, application: Application, when_runs: Done) -> None:
        """Add an application: its first instance starts now, or when there is quorum."""
        self.applications[application.id] = application
        self.counters["applications"] += 1
        if self.quorum.holds_back(application):
            self._hold_back(application, WAITS)
            when_runs(application)
            return
        self._when_runs[application.id] = [when_runs]
        self._start(application)
        self.say_spawn(application)

    def adopt_new(self, application: Application) -> bool:
        """Add an application whose process exists already. False if it is gone."""
        application.boot = self.adoptions.boot
        self._make_health(application)
        if not self.adopt(application):
            return False
        self.applications[application.id] = application
        self._keeper.is_wanted = True
        self.counters["applications"] += 1
        self.table.save(application)
        notice(log, "%s: adopted process %d", application.id, application.pid)
        return True

    def _make_health(self, application: Application) -> None:
        with contextlib.suppress(OSError):
            make_fifo(self.places.health_of(application.id), application.owner.uid)

    def when_runs(self, application: Application, call: Done) -> None:
        """Call this function when its start has succeeded or failed."""
        if application.phase is Phase.STARTING and application.id in self._when_runs:
            self._wait(self._when_runs, application, call)
        else:
            call(application)

    def _wait(self, waiting: dict[str, list[Done]], application: Application, call: Done) -> None:
        calls = waiting.setdefault(application.id, [])
        calls.append(call)
        if len(calls) > WAITING_MAX:
            self.counters["waits_given_up"] += 1
            calls.pop(0)(None)

    def may_start(self, application: Application) -> bool:
        """True if a process may be started for its owner now."""
        return self.quotas.may_start(application, self.clock.now_s)

    def _start(self, application: Application) -> None:
        """Record that an instance is started; the keeper is told afterwards."""
        self._note_start(application)
        self.table.save(application)

    def _note_start(self, application: Application) -> None:
        application.phase, application.state = Phase.STARTING, State.WAITING
        application.boot = self.adoptions.boot
        application.started_unix_time = time.time()
        application.is_foreign = False
        self._keeper.is_wanted = True

    def _hold_back(self, application: Application, why: str) -> None:
        application.wait_for_quorum(why)
        self.counters["starts_held_back"] += 1
        self.table.save(application)
        notice(log, "%s: %s", application.id, why)

    def spawn_again(self, application: Application) -> None:
        """A predecessor has recorded a start that never happened: start it now, or when there is quorum."""
        if self.quorum.holds_back(application):
            self._hold_back(application, WAITS)
            self._call(self._when_runs, application)
        else:
            application.phase = Phase.STARTING
            self.say_spawn(application)

    def say_spawn(self, application: Application) -> None:
        """Tell the keeper to start the recorded instance."""
        self._keeper.say([Say.SPAWN, application.id, application.instance, spec_of(application, self.places)])

    def on_spawned(self, key: str, instance: int, pid: int, start_time: int) -> None:
        """The keeper has started a process."""
        application = self.applications.get(key)
        if application is None or application.instance != instance or application.phase is not Phase.STARTING:
            return
        self.runs(application, pid, start_time)

    def runs(self, application: Application, pid: int, start_time: int) -> None:
        """Record that its instance runs as that process."""
        application.runs(pid, start_time, self.clock.now_s)
        self.counters["starts"] += 1
        self.counters["restarts"] += application.instance > 0
        self.hearing.listen(application)
        self.table.save(application)
        notice(log, "%s: instance %d runs as process %d", application.id, application.instance, pid)
        self._call(self._when_runs, application)
        if application.stopped_by:
            self.warn(application, f"stopped by {application.stopped_by}", application.grace_s())

    # -- health -------------------------------------------------------------------------------------------------

    def mark_failed(self, application: Application) -> None:
        """It declares itself broken: it is killed without a warning."""
        if application.kill_at_s is None or not application.verdict:
            application.verdict = "marked itself failed"
            application.state = State.FAILED
            application.message = application.verdict
            self._kill(application)

    def due_at_s(self) -> float:
        """When something is due next (awake clock)."""
        return min((each.due_at_s() for each in self.applications.values()), default=float("inf"))

    @property
    def look_s(self) -> float:
        """How soon to look at health messages again."""
        running = [each for each in self.applications.values() if each.phase is Phase.RUNNING]
        if any(each.is_watched for each in running):
            return LOOK_S
        return UNWATCHED_LOOK_S if running else float("inf")

    def see_to_time(self) -> None:
        """Do what is due now. Health messages must have been processed before."""
        now_s = self.clock.now_s
        for application in list(self.applications.values()):
            self.quorum.see_to(application)
            due = application.due(now_s)
            if due is Due.NOTHING:
                continue
            if due is Due.RESTART and self.quorum.holds_back(application):
                self._hold_back(application, WAITS)
            elif due in (Due.RESTART, Due.CHECK) and not self.may_start(application):
                application.postpone(now_s + START_LATER_S)
                self.counters["starts_postponed"] += 1
            elif due is Due.RESTART:
                self._start(application)
                self.say_spawn(application)
            elif due is Due.WARN and not procs.is_alive(application.pid, application.start_time):
                application.heard_at_s = now_s  # silent because it is dead: its end is about to be reported
            elif due is Due.WARN:
                self._hung(application, f"hung: silent for more than {application.interval_ms} ms")
            elif due is Due.KILL:
                self._kill(application)
            elif due is Due.CHECK:
                self._checks.begin(application, now_s)
            elif due is Due.CHECK_LATE:
                self._checks.kill(application)
                self._hung(application, f"its check did not answer within {application.interval_ms} ms")

    def _hung(self, application: Application, why: str) -> None:
        self.counters["hung"] += 1
        log.warning("%s: instance %d (process %d) %s", application.id, application.instance, application.pid, why)
        self.warn(application, why, application.interval_s)

    def warn(self, application: Application, why: str, grace_s: float) -> None:
        """End this instance: the warn signal, and the kill if that does not help in time."""
        application.verdict = why
        application.message = why
        if application.warn_signal == signal.SIGKILL:
            self._kill(application)
            return
        application.kill_at_s = self.clock.now_s + grace_s
        self._signal(application, application.warn_signal)

    def _kill(self, application: Application) -> None:
        application.kill_at_s = self.clock.now_s + KILL_AGAIN_S
        self._signal(application, signal.SIGKILL)

    def _signal(self, application: Application, number: int) -> None:
        log.info("%s: %s to process %d", application.id, signal_name(number), application.pid)
        if not self.adoptions.signal(application, number):
            self._keeper.say([Say.SIGNAL, application.id, application.instance, number])

    # -- end ----------------------------------------------------------------------------------------------------

    def on_ended(self, key: str, instance: int, ending: list[Any]) -> None:
        """The keeper has seen the end of a process and of all its descendants."""
        name, _, check = key.partition(SEPARATOR)
        application = self.applications.get(name)
        if application is not None and check:
            if why := self._checks.answered(application, instance, ending):
                self._hung(application, why)
        elif application is not None and application.instance == instance and application.has_process:
            status, left_behind, stage, error, _ = ending
            self.ended(application, status, left_behind=left_behind, refusal=(stage, error))
            return
        self._keeper.say([Say.FORGET, key, instance])

    def ended(
        self,
        application: Application,
        status: int | None,
        *,
        left_behind: bool = False,
        refusal: tuple[str, int] = ("", 0),
    ) -> None:
        """Record how an instance ended and what follows, and only then act on that."""
        self._release(application)
        why = application.verdict
        text = refusal_text(application, *refusal) if refusal[0] else ending_text(status, left_behind)
        lived_ms = max(0, round((time.time() - application.started_unix_time) * 1000))
        instance = application.instance
        end = End(instance, application.pid, status, why, text, lived_ms, time.time())
        is_first_refused = bool(refusal[0]) and instance == 0
        was_failed = application.state is State.FAILED
        application.ended(end)
        told = f"{why}; {text}" if why else text
        self.counters["ends"] += 1
        notice(log, "%s: instance %d (process %d) %s", application.id, instance, end.pid, told)
        application.decide(told, end, was_refused=is_first_refused, was_failed=was_failed, now_s=self.clock.now_s)
        if application.quick_ends >= QUICK_ENDS_MAX:
            log.error("%s: %s", application.id, application.message)
        if application.phase is Phase.STARTING and self.quorum.holds_back(application):
            self._hold_back(application, f"{told}; {WAITS}")
        elif application.phase is Phase.STARTING and not self.may_start(application):
            application.start_later(told, self.clock.now_s + START_LATER_S)
            self.counters["starts_postponed"] += 1
        if application.phase is Phase.STARTING:
            self._note_start(application)
        self.table.save(application)
        self._keeper.say([Say.FORGET, application.id, instance])
        if application.phase is Phase.STARTING:
            self.say_spawn(application)
        else:
            self._call(self._when_runs, application)
        if application.is_over:
            self._over(application)

    def _release(self, application: Application) -> None:
        self._checks.kill(application)
        self.adoptions.release(application)
        self.hearing.drop(application)
        self.quorum.forget(application)

    def _over(self, application: Application) -> None:
        self.hearing.close(application)
        self._keeper.say([Say.CLOSE, application.id])
        self._call(self._when_over, application)
        self.past.see_to(application.owner.uid)

    def _call(self, waiting: dict[str, list[Done]], application: Application) -> None:
        for call in waiting.pop(application.id, ()):
            call(application)

    # -- stop ---------------------------------------------------------------------------------------------------

    def stop(self, application: Application, by: str, when_over: Done | None = None, grace_s: float = 1e9) -> None:
        """Stop it for good: the warn signal, and the kill if that does not help in time."""
        if application.is_over:
            if when_over is not None:
                when_over(application)
            return
        if when_over is not None:
            self._wait(self._when_over, application, when_over)
        application.stopped_by = by
        if application.phase is Phase.WAITING:
            application.phase, application.state = Phase.IDLE, State.STOPPED
            application.message = f"stopped by {by}"
            self.table.save(application)
            self._over(application)
            return
        self.table.save(application)
        if application.phase is Phase.RUNNING:
            if not application.verdict:
                self.warn(application, f"stopped by {by}", application.grace_s(grace_s))
            elif application.kill_at_s is not None:
                application.kill_at_s = min(application.kill_at_s, self.clock.now_s + application.grace_s(grace_s))

    def let_go(self, application: Application) -> None:
        """Its process goes on unwatched; its end will be the last."""
        if application.state is State.WAITING_FOR_QUORUM:
            application.state = State.REGISTERED
        self.quorum.forget(application)
        application.is_let_go = True
        application.policy = Policy.QUIT
        application.is_watched = False
        application.check = b""
        application.message = "finalized: it goes on unwatched"
        if application.is_foreign:
            self._release(application)
            application.pid = application.start_time = 0
            application.phase, application.state = Phase.IDLE, State.STOPPED
            self._over(application)
        self.table.save(application)

    def stop_all(self, why: str) -> None:
        """The node stops. Processes that SAM did not start are released, not stopped."""
        for application in list(self.applications.values()):
            if application.is_foreign and application.phase is Phase.RUNNING:
                self.let_go(application)
                application.message = f"{why}; its process goes on"
                self.table.save(application)
            else:
                self.stop(application, why, grace_s=STOP_GRACE_MS_MAX / 1000)

    @property
    def is_idle(self) -> bool:
        """True if nothing is left to stop."""
        return all(each.is_over for each in self.applications.values())

    def end_keeper(self) -> None:
        """End the keeper, which has no process left."""
        self._keeper.say([Say.END])
