"""Combinations of options are refused and corrected where Corosync does so."""

from __future__ import annotations

import pytest

from services.control.quorum.settings import (
    Options,
    SettingsError,
    TieBreaker,
    pack_settings,
    reloaded,
    settle,
    unpack_settings,
)
from tests.unit.control.ring import options

TWO = {1: 1, 2: 1}
THREE = {1: 1, 2: 2, 3: 0}


def test_votes_come_from_the_nodelist() -> None:
    settings, notes = settle(options(votes=9), 2, THREE)
    assert (settings.votes, settings.expected_votes, notes) == (2, 3, [])


def test_expected_votes_replace_the_sum() -> None:
    assert settle(options(expected_votes=7), 1, THREE)[0].expected_votes == 7


def test_without_a_nodelist_votes_are_those_of_the_section() -> None:
    settings, _ = settle(options(votes=2, expected_votes=5), 1, None)
    assert (settings.votes, settings.expected_votes) == (2, 5)


def test_two_node_waits_for_all_unless_it_is_told_not_to() -> None:
    assert settle(options(two_node=True), 1, TWO)[0].wait_for_all
    assert not settle(options(two_node=True, wait_for_all=False), 1, TWO)[0].wait_for_all
    assert not settle(options(), 1, TWO)[0].wait_for_all


@pytest.mark.parametrize(
    ("written", "nodelist", "why"),
    [
        (Options("corosync_ykd"), TWO, "corosync_ykd"),
        (options(has_device=True), TWO, "quorum.device"),
        (options(), None, "nodelist or quorum.expected_votes"),
        (options(), {2: 1}, "node 1 is not in the nodelist"),
        (options(), {1: 0}, "no node of the nodelist has a vote"),
        (options(), {1: 200, 2: 56}, "256 votes"),
        (options(expected_votes=256), TWO, "256 votes"),
        (options(auto_tie_breaker=True, last_man_standing=True), THREE, "needs wait_for_all"),
    ],
)
def test_refused(written: Options, nodelist: dict[int, int] | None, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        settle(written, 1, nodelist)


def test_two_node_and_a_tie_breaker_exclude_each_other() -> None:
    settings, notes = settle(options(two_node=True, auto_tie_breaker=True), 1, TWO)
    assert (settings.two_node, settings.wait_for_all, settings.tie_breaker) == (False, True, TieBreaker.LOWEST)
    assert len(notes) == 1


def test_a_tie_breaker_of_an_odd_number_of_votes_is_off_unless_all_are_waited_for() -> None:
    settings, notes = settle(options(auto_tie_breaker=True), 1, THREE)
    assert settings.tie_breaker == TieBreaker.NONE
    assert len(notes) == 1
    assert settle(options(auto_tie_breaker=True, wait_for_all=True), 1, THREE)[0].tie_breaker == TieBreaker.LOWEST


@pytest.mark.parametrize(
    ("text", "kind", "nodes"),
    [
        (" highest ", TieBreaker.HIGHEST, ()),
        ("3 1", TieBreaker.LIST, (3, 1)),
        ("", TieBreaker.NONE, ()),
        ("0", TieBreaker.NONE, ()),
        ("²", TieBreaker.NONE, ()),
        ("1 two", TieBreaker.NONE, ()),
    ],
)
def test_tie_breaker_node(text: str, kind: TieBreaker, nodes: tuple[int, ...]) -> None:
    settings, notes = settle(options(auto_tie_breaker=True, auto_tie_breaker_node=text), 1, TWO)
    assert (settings.tie_breaker, settings.tie_breaker_nodes, bool(notes)) == (kind, nodes, not kind)


def test_downscale_tracks_and_tracking_begins_from_what_was_stored() -> None:
    settings, _ = settle(options(allow_downscale=True, expected_votes=2), 1, THREE)
    assert (settings.expected_votes_tracking, settings.expected_votes) == (True, 3)
    assert settle(options(expected_votes_tracking=True), 1, THREE, stored_barrier=5)[0].expected_votes == 5
    assert settle(options(expected_votes=4, expected_votes_tracking=True), 1, None)[0].expected_votes == 4


def test_a_reload_changes_votes_expected_votes_and_two_node_only() -> None:
    start = options(auto_tie_breaker=True)
    settled, _ = settle(start, 1, TWO)
    now = options(two_node=True, expected_votes=4, votes=3, last_man_standing=True, wait_for_all=True)
    assert reloaded(start, settled, now) == options(
        auto_tie_breaker=True, two_node=True, expected_votes=4, votes=3, wait_for_all=False
    )


def test_settings_are_packed_whole() -> None:
    settings, _ = settle(options(auto_tie_breaker=True, auto_tie_breaker_node="2 1", last_man_standing=True), 1, TWO)
    packed = pack_settings(settings)
    assert unpack_settings(packed) == settings
    assert all(isinstance(value, int | tuple) for value in packed)
