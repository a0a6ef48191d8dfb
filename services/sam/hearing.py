"""The effect of health messages: when applications were heard, and whether they are watched."""

import logging
from collections import Counter
from collections.abc import Callable

from services.sam.application import Application, Phase, State
from services.sam.clock import AwakeClock
from services.sam.health import HealthError, HealthPipes
from services.sam.spec import Places
from services.sam.table import Table

WORDS_SAVED_S = 1.0
"""The health of an application is saved at most once in this time, however often it changes."""

log = logging.getLogger("SAM")


class Hearing:
    """Processes the health messages. `failed` is called for an application that says that it is broken."""

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
        """Applications whose changed health is not saved yet."""

    def listen(self, application: Application) -> None:
        """Listen to an application."""
        try:
            self._pipes.open(application.id, self._places.health_of(application.id))
        except HealthError as error:
            log.error("%s: its health cannot be heard: %s: %s", application.id, error.filename, error.strerror)

    def drop(self, application: Application) -> None:
        """Discard unread messages: those of a dead instance do not count for the next one."""
        self._pipes.drop(application.id)

    def close(self, application: Application) -> None:
        """Stop listening to it."""
        self._pipes.close(application.id)
        self._unsaved.discard(application)

    def hear(self) -> None:
        """Process the messages of all applications."""
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
            # An application that is written for SAM says when it starts; an `ok` may have been sent before it stopped.
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
        """Save changed health, of each application once in a while."""
        now_s = self._clock.now_s
        for application in [each for each in self._unsaved if now_s - each.saved_at_s >= WORDS_SAVED_S]:
            self._unsaved.discard(application)
            application.saved_at_s = now_s
            self._table.save(application)

    def watch(self, application: Application, *, watched: bool) -> None:
        """Begin or end its health checks."""
        self._set_watched(application, watched)
        self._table.save(application)

    def _set_watched(self, application: Application, watched: bool) -> bool:
        """True if that is a change."""
        before = (application.is_watched, application.state)
        application.is_watched = watched
        application.heard_at_s = self._clock.now_s
        if application.state is not State.FAILED:
            application.state = State.STARTED if watched or not application.registers else State.REGISTERED
        return before != (application.is_watched, application.state)
