"""Runs all checks in turn. If a check raises, that is reported, and the others still run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rondo.doctor import clock, configuration, firewall, machine, ports, reach, running
from rondo.doctor.finding import Finding, warn, worst_first
from rondo.doctor.subject import Subject

Check = Callable[[Subject], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    configuration.configuration,
    configuration.names,
    configuration.addresses,
    configuration.key,
    configuration.page,
    machine.disk,
    ports.ports,
    machine.kernel,
    machine.realtime,
    firewall.firewall,
    reach.mtu,
    running.nodes,
    running.processes,
    reach.peers,
    running.token,
    clock.clock,
    machine.code,
)
"""In this order, so that causes are reported before their consequences."""


def examine(subject: Subject) -> list[Finding]:
    """All findings, the worst first."""
    return worst_first([finding for check in CHECKS for finding in _run(check, subject)])


def _run(check: Check, subject: Subject) -> list[Finding]:
    found: list[Finding] = []
    try:
        for finding in check(subject):
            found.append(finding)  # noqa: PERF402 - what was found before a failure is kept
    except Exception as error:
        found.append(warn(check.__name__, f"could not be looked at: {error!r}", "", "tell the authors of Rondo"))
    return found
