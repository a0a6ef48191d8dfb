"""Stop a node: cleanly if possible, and in any case with all processes that are left of it."""

import contextlib
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rondo.node.supervision import RESOLVED_CONFIGURATION, SERVICES, processes

SERVICE_SECONDS = 5
"""How long a service may take to end (stopwaitsecs in supervisord.conf)."""

KEEPER_SECONDS = 7
"""How long the keeper may take to see the end of the applications that it has killed."""

LOOK_SECONDS = 0.02

SUPERVISOR_SECONDS = SERVICE_SECONDS * len(SERVICES) + 5


@dataclass(slots=True)
class Halted:
    """The result of stopping a node."""

    ran: bool = False
    """True if something was running."""
    orphans: list[str] = field(default_factory=list)
    """Services without supervisord that were stopped."""
    killed: list[str] = field(default_factory=list)
    """Processes that did not end when asked to and were killed."""


def halt(run_dir: Path, told: Callable[[str], None] = lambda _: None) -> Halted:
    """Stop supervisord, which stops the services in order. Then stop any process that is left without it.

    `told`: called with each step.
    """
    halted = Halted()
    told("stopping the processes in order, applications first")
    supervisor = processes.find_one(run_dir, processes.SUPERVISORD)
    if supervisor is not None:
        halted.ran = True
        halted.killed += processes.end(processes.grips(run_dir, [supervisor]), SUPERVISOR_SECONDS)
    told("stopping what is left of them")
    halt_orphans(run_dir, halted)
    _halt_applications(run_dir, halted)
    with contextlib.suppress(OSError):
        # The file may contain the key.
        (run_dir / RESOLVED_CONFIGURATION).unlink()
    return halted


def halt_orphans(run_dir: Path, halted: Halted, *, keep_applications: bool = False) -> None:
    """Stop the services that a killed supervisord has left, clients first and the ring last.

    keep_applications: SAM's applications go on under their keeper, and the next SAM adopts them.
    """
    for name in reversed(SERVICES):
        found = [each for each in processes.find(run_dir) if each.name == name]
        if found:
            halted.ran = True
            halted.orphans.append(name)
            held = processes.grips(run_dir, found)
            if name == "sam" and keep_applications:
                for grip in held:
                    grip.send(signal.SIGKILL)
            halted.killed += processes.end(held, SERVICE_SECONDS)


def _halt_applications(run_dir: Path, halted: Halted) -> None:
    """Make sure that the applications have ended. SAM has stopped them and the keeper, unless one of these was
    killed."""
    left = [each for each in processes.find(run_dir) if each.name == processes.KEEPER]
    if left:
        halted.ran = True
        halted.killed += processes.end(processes.grips(run_dir, left), KEEPER_SECONDS)
    _kill_applications(run_dir)


def _kill_applications(run_dir: Path) -> None:
    """Repeat until there is none: a process that is just being forked off was not seen."""
    deadline = time.monotonic() + SERVICE_SECONDS
    while processes.kill_applications(run_dir) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)


def kill(run_dir: Path) -> None:
    """Kill all processes of a node at once, as a power failure would."""
    # supervisord first, so that nothing is restarted. Then again: SAM may just have started another keeper.
    for only_supervisor in (True, False, False):
        found = [each for each in processes.find(run_dir) if not only_supervisor or each.name == processes.SUPERVISORD]
        held = processes.grips(run_dir, found)
        for grip in held:
            grip.send(signal.SIGKILL)
        deadline = time.monotonic() + SERVICE_SECONDS
        for grip in held:
            grip.wait(deadline - time.monotonic())
            grip.close()
    _kill_applications(run_dir)
