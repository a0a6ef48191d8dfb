"""Health checks by an executable: run every interval, with one interval to answer."""

import os
import signal
from typing import Any

from services.sam.application import Application, Phase, ending_text
from services.sam.keeper.wire import Say
from services.sam.keeper_link import KeeperLink
from services.sam.spec import Places, check_spec

SEPARATOR = "!"
"""Between the name of an application and the rest of the key of its check."""


class Checks:
    """The running checks. Those of an earlier SAM have other keys, and are ignored."""

    def __init__(self, keeper: KeeperLink, places: Places) -> None:
        self._keeper = keeper
        self._places = places

    @staticmethod
    def _key(application: Application) -> str:
        return f"{application.id}{SEPARATOR}{os.getpid()}"

    def begin(self, application: Application, now_s: float) -> None:
        """Start a check."""
        application.check_at_s = now_s
        application.check_is_running = True
        application.check_number += 1
        spec = check_spec(application, self._places)
        self._keeper.say([Say.SPAWN, self._key(application), application.check_number, spec])

    def kill(self, application: Application) -> None:
        """Kill a check whose answer is not needed any more."""
        if application.check_is_running:
            self._keeper.say([Say.SIGNAL, self._key(application), application.check_number, signal.SIGKILL])

    @staticmethod
    def answered(application: Application, number: int, ending: list[Any]) -> str:
        """What is wrong with the application, by the result of that check; empty if nothing is, or the check is not
        ours."""
        if not application.check_is_running or number != application.check_number:
            return ""
        application.check_is_running = False
        status, _, stage, error, _ = ending
        if application.phase is not Phase.RUNNING or application.kill_at_s is not None:
            return ""
        if stage:
            return f"its check cannot be run: {os.strerror(error)}"
        return "" if status == 0 else f"its check {ending_text(status, left_behind=False)}"
