"""What applications say of their health, and what that changes: when they were heard, and whether they are watched."""

import logging
from collections import Counter
from collections.abc import Callable

from services.sam.application import Application, Phase, State
from services.sam.clock import AwakeClock
from services.sam.health import HealthError, HealthPipes
from services.sam.spec import Places
from services.sam.table import Table

WORDS_SAVED_S = 1.0
"""What an application says is written down once in this time, however often it changes its mind."""

log = logging.getLogger("SAM")


class Hearing:
    """The ears of SAM. `failed` is called for who says that it is broken."""

    def __init__(
        self,
        applications: dict[str, Application],
        pipes: HealthPipes,
        table: Table,
        clock: AwakeClock,
        places: Places,
        counters: Counter[str],
        failed: Callable[[Application], object],
    ) -> None:
        self._applications = applications
        self._pipes = pipes
        self._table = table
        self._clock = clock
        self._places = places
        self._counters = counters
        self._failed = failed
        self._unsaved: set[Application] = set()
        """Those whose health has changed since they were written down."""

    def listen(self, application: Application) -> None:
        """Hear what it says of its health."""
        try:
            self._pipes.open(application.id, self._places.health_of(application.id))
        except HealthError as error:
            log.error("%s: its health cannot be heard: %s: %s", application.id, error.filename, error.strerror)

    def drop(self, application: Application) -> None:
        """What a dead instance had said is not its successor's word."""
        self._pipes.drop(application.id)

    def close(self, application: Application) -> None:
        """Listen to it no longer."""
        self._pipes.close(application.id)
        self._unsaved.discard(application)

    def hear(self) -> None:
        """Take in what applications say of their health."""
        for name, words in self._pipes.look(self._clock.now_s):
            application = self._applications.get(name)
            if application is not None and application.phase is Phase.RUNNING:
                for word in words:
                    self._on_word(application, word)
        if self._unsaved:
            self._save_unsaved()

    def _on_word(self, application: Application, word: str) -> None:
        if word in ("ok", "start"):
            application.heard_at_s = self._clock.now_s
            # Who is written for SAM says when it starts; an `ok` may be one from before it stopped.
            if not application.is_watched and not (application.registers and word == "ok"):
                self._watch_by_word(application, watched=True)
        elif word == "stop":
            self._watch_by_word(application, watched=False)
        elif word == "failed":
            self._failed(application)
        elif word:
            self._counters["words_not_understood"] += 1

    def _watch_by_word(self, application: Application, *, watched: bool) -> None:
        if self._set_watched(application, watched):
            self._unsaved.add(application)

    def _save_unsaved(self) -> None:
        """Write down whose health has changed, of each once in a while."""
        now_s = self._clock.now_s
        for application in [each for each in self._unsaved if now_s - each.saved_at_s >= WORDS_SAVED_S]:
            self._unsaved.discard(application)
            application.saved_at_s = now_s
            self._table.save(application)

    def watch(self, application: Application, *, watched: bool) -> None:
        """Its health checks begin, or end."""
        self._set_watched(application, watched)
        self._table.save(application)

    def _set_watched(self, application: Application, watched: bool) -> bool:
        """True if that changes anything."""
        before = (application.is_watched, application.state)
        application.is_watched = watched
        application.heard_at_s = self._clock.now_s
        if application.state is not State.FAILED:
            application.state = State.STARTED if watched or not application.registers else State.REGISTERED
        return before != (application.is_watched, application.state)
