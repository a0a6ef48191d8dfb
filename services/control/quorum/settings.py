"""Checks the options of `quorum { provider: corosync_votequorum ... }`, and corrects them by Corosync's rules.

With a nodelist, the votes come from it: this node's votes from its own entry, expected votes as the sum of all entries,
unless expected_votes is set. Some combinations are refused, others are corrected and logged, exactly as Corosync does.
So a cluster that starts under C starts here too, with the same votes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from enum import IntEnum
from typing import Any

VOTES_MAX = 255
"""Corosync counts quorum in eight bits. With more votes C nodes wrap around, and see quorum where there is none."""

WINDOW_MS_DEFAULT = 10_000
PROVIDER = "corosync_votequorum"


class SettingsError(ValueError):
    """The configuration is refused. The text gives the reason and what to change."""


class TieBreaker(IntEnum):
    """Which side continues if it has exactly half of the votes; numbers as in `runtime.votequorum.atb_type`."""

    NONE = 0
    LOWEST = 1
    HIGHEST = 2
    LIST = 3


@dataclass(frozen=True, slots=True)
class Options:
    """The section quorum{} as it is in the file. None: not set."""

    provider: str | None = None
    expected_votes: int = 0
    """Replaces the nodelist's sum; 0 = not set."""
    votes: int = 1
    """This node's votes, if there is no nodelist."""
    two_node: bool = False
    wait_for_all: bool | None = None
    last_man_standing: bool = False
    last_man_standing_window_ms: int = WINDOW_MS_DEFAULT
    auto_tie_breaker: bool = False
    auto_tie_breaker_node: str = "lowest"
    """lowest, highest, or node ids separated by blanks."""
    allow_downscale: bool = False
    expected_votes_tracking: bool = False
    has_device: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """Votequorum's resolved settings."""

    votes: int
    expected_votes: int
    two_node: bool = False
    wait_for_all: bool = False
    last_man_standing: bool = False
    last_man_standing_window_ms: int = WINDOW_MS_DEFAULT
    tie_breaker: TieBreaker = TieBreaker.NONE
    tie_breaker_nodes: tuple[int, ...] = ()
    allow_downscale: bool = False
    expected_votes_tracking: bool = False


def settle(
    options: Options, node: int, nodelist: Mapping[int, int] | None, stored_barrier: int = 0
) -> tuple[Settings, list[str]]:
    """The settings of this node, and log lines about corrections.

    `nodelist`: votes by node id; None = there is none. `stored_barrier`: the highest expected votes ever seen, as
    expected_votes_tracking has kept them; 0 = none. Raises `SettingsError`.
    """
    if options.provider != PROVIDER:
        raise SettingsError(f"quorum.provider {options.provider!r} is not known; the only one is {PROVIDER}")
    if options.has_device:
        raise SettingsError("quorum.device: Rondo has no quorum device; use auto_tie_breaker, or a node more")
    votes, expected, total = _votes(options, node, nodelist)
    tracking = options.expected_votes_tracking or options.allow_downscale
    if tracking and nodelist is not None:
        expected = stored_barrier or total
    elif tracking and stored_barrier:
        expected = stored_barrier
    if max(votes, expected, total) > VOTES_MAX:
        raise SettingsError(f"{max(votes, expected, total)} votes are more than the {VOTES_MAX} that can be counted")
    notes: list[str] = []
    wait_for_all = options.two_node if options.wait_for_all is None else options.wait_for_all
    tie_breaker, nodes = _tie_breaker(options, notes)
    two_node = options.two_node
    if two_node and tie_breaker:
        two_node = False
        notes.append("two_node and auto_tie_breaker exclude each other: two_node is off")
    if tie_breaker and expected % 2 and not wait_for_all:
        if options.last_man_standing:
            raise SettingsError(
                "auto_tie_breaker with an odd number of votes and last_man_standing needs wait_for_all: 1"
            )
        tie_breaker, nodes = TieBreaker.NONE, ()
        notes.append("auto_tie_breaker with an odd number of votes needs wait_for_all: auto_tie_breaker is off")
    settings = Settings(
        votes,
        expected,
        two_node,
        wait_for_all,
        options.last_man_standing,
        options.last_man_standing_window_ms,
        tie_breaker,
        nodes,
        options.allow_downscale,
        tracking,
    )
    return settings, notes


def _votes(options: Options, node: int, nodelist: Mapping[int, int] | None) -> tuple[int, int, int]:
    """(own votes, expected votes, the nodelist's sum). Raises `SettingsError`."""
    if nodelist is None:
        if not options.expected_votes:
            raise SettingsError(
                "quorum needs a nodelist or quorum.expected_votes: how many votes there are is not known"
            )
        return options.votes, options.expected_votes, 0
    if node not in nodelist:
        raise SettingsError(f"node {node} is not in the nodelist: it has no votes")
    total = sum(nodelist.values())
    if not (options.expected_votes or total):
        raise SettingsError("no node of the nodelist has a vote, and quorum.expected_votes does not say otherwise")
    return nodelist[node], options.expected_votes or total, total


def _tie_breaker(options: Options, notes: list[str]) -> tuple[TieBreaker, tuple[int, ...]]:
    if not options.auto_tie_breaker:
        return TieBreaker.NONE, ()
    text = options.auto_tie_breaker_node.strip()
    if text in ("lowest", "highest"):
        return TieBreaker[text.upper()], ()
    words = text.split()
    if words and all(word.isascii() and word.isdigit() and 0 < int(word) < 1 << 32 for word in words):
        return TieBreaker.LIST, tuple(map(int, words))
    notes.append(f"auto_tie_breaker_node {text!r} names no node: auto_tie_breaker is off")
    return TieBreaker.NONE, ()


def reloaded(start: Options, settled: Settings, now: Options) -> Options:
    """The options after a reload. From `now`, the new file, come votes, expected votes and two_node. Everything else
    stays as at the start (`start`, which gave `settled`). wait_for_all does not follow two_node at run time."""
    return replace(
        start,
        votes=now.votes,
        expected_votes=now.expected_votes,
        two_node=now.two_node,
        wait_for_all=settled.wait_for_all,
    )


def pack_settings(settings: Settings) -> list[Any]:
    """Settings as a list of numbers."""
    return [int(value) if isinstance(value, IntEnum) else value for value in astuple(settings)]


def unpack_settings(values: list[Any]) -> Settings:
    """The settings that `pack_settings` packed."""
    votes, expected, two_node, wait_for_all, standing, window_ms, kind, nodes, downscale, tracking = values
    return Settings(
        votes,
        expected,
        two_node,
        wait_for_all,
        standing,
        window_ms,
        TieBreaker(kind),
        tuple(nodes),
        downscale,
        tracking,
    )
