"""`rondo top`: what the page has of this node, in a terminal, live. Without a terminal it is printed once."""

import argparse
import itertools
import signal
import sys
import time
from collections import deque
from typing import TYPE_CHECKING

from rondo import paths
from rondo.cli.interrupts import interrupt_on
from rondo.cli.numbers import seconds, whole
from rondo.cli.output import Parser
from rondo.cli.top.sections import ORDERS

if TYPE_CHECKING:
    from rondo.cli.top.screen import Screen
    from rondo.metrics.looker import Looker

HELP = "show this node live: ring, quorum, rates of groups, links, applications, processes, events"
EXAMPLE = "rondo top --sort messages"
INTERVAL_SECONDS_MIN = 0.1
INTERVAL_SECONDS_MAX = 86400.0
COUNT_MAX = 1_000_000_000
EVENTS_KEPT = 50
KEYS = {"n": "name", "m": "messages", "b": "bytes", "s": "members", "r": "restarts"}
"""The key for each order; `s` is for size."""
QUIT = "q"


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--sort", choices=ORDERS, default="name", help="what lists are sorted by (default: %(default)s); keys n m b s r"
    )
    parser.add_argument(
        "--interval", type=seconds(0, INTERVAL_SECONDS_MAX), default=1.0, metavar="S",
        help="seconds (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--count", type=whole("a number of reports", 1, COUNT_MAX), metavar="N",
        help="end after N reports (default: q or Ctrl-C ends it; no terminal: 1)",
    )  # fmt: skip
    parser.add_argument("--run-dir", metavar="D", help="the node's run directory (default: $RONDO_RUN_DIR)")


def run(arguments: argparse.Namespace) -> int:
    from rondo.cli.top.screen import Screen
    from rondo.metrics.looker import Looker

    looker = Looker(paths.run_dir(arguments.run_dir))
    interval_s = max(INTERVAL_SECONDS_MIN, arguments.interval)
    try:
        if sys.stdout.isatty():
            interrupt_on(signal.SIGTERM, signal.SIGHUP)  # the terminal is left as it was
            with Screen() as screen:
                _watch(Watch(looker, arguments.sort), screen, interval_s, arguments.count)
        else:
            _print(Watch(looker, arguments.sort), interval_s, arguments.count or 1)
    except KeyboardInterrupt:
        pass  # how one leaves it
    finally:
        looker.close()
    return 0


class Watch:
    """The last status, and the changes since the one before."""

    def __init__(self, looker: "Looker", order: str) -> None:
        from rondo.cli.top.rates import Rates

        self._looker = looker
        self._events = deque(looker.new_events(), EVENTS_KEPT)
        self._told, self._looked_s = looker.status(), time.monotonic()
        self._rates = Rates()
        self.order = order

    def look(self) -> None:
        """Look again."""
        from rondo.cli.top.rates import rates_of

        before, before_s = self._told, self._looked_s
        self._told, self._looked_s = self._looker.status(), time.monotonic()
        self._events.extend(self._looker.new_events())
        self._rates = rates_of(self._told["status"], before["status"], self._looked_s - before_s)

    def lines(self, size: tuple[int, int] | None) -> list[str]:
        """The last status as lines. `size`: columns and lines of the terminal."""
        from rondo.cli.top.frame import frame

        return frame(self._told, self._rates, self.order, self._events, size)


def _print(watch: Watch, interval_s: float, count: int) -> None:
    """So many reports, each with the rates of the time before it."""
    for _ in range(count):
        time.sleep(interval_s)
        watch.look()
        print("\n".join(watch.lines(None)) + "\n", flush=True)


def _watch(watch: Watch, screen: "Screen", interval_s: float, count: int | None) -> None:
    """Watch until the key that ends it, or for `count` looks. A key for sorting changes the display, not the data."""
    for looks in itertools.count():
        if looks:
            watch.look()
        until_s = time.monotonic() + interval_s
        while True:
            screen.show(watch.lines(screen.size()))
            if looks == count:
                return
            pressed = screen.key(max(0.0, until_s - time.monotonic()))
            if pressed == QUIT:
                return
            if not pressed:
                break
            watch.order = KEYS.get(pressed, watch.order)
