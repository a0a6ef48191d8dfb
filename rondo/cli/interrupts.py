"""Signals that end a command the way Ctrl-C does: what it has started or changed is undone on the way out."""

import signal
from types import FrameType
from typing import NoReturn


class Interrupt(KeyboardInterrupt):
    """A signal other than SIGINT has come."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def interrupt_on(*numbers: signal.Signals) -> None:
    """From now on these signals raise `Interrupt` in the main thread. One that is ignored stays ignored (nohup)."""
    for each in numbers:
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, _interrupt)


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """What a shell reports of a process that this signal has ended."""
    return 128 + (interrupt.number if isinstance(interrupt, Interrupt) else signal.SIGINT)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    raise Interrupt(number)
