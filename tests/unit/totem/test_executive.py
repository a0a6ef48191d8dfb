"""CMAP's step of the sync: nodes tell their config_version, and who is behind must not take part."""

from __future__ import annotations

import pytest

from services.totem.executive import ConfigVersionError, Executive
from services.totem.wire.executive import encode_config_version


def told(own: int, others: dict[int, int]) -> Executive:
    executive = Executive(own)
    executive.configuration()
    for node, version in others.items():
        executive.message(node, encode_config_version(version))
    return executive


def test_a_node_tells_its_version() -> None:
    assert Executive(7).sync_messages() == [encode_config_version(7)]
    assert told(7, {1: 7, 2: 9}).config_versions == {1: 7, 2: 9}


@pytest.mark.parametrize(("own", "other"), [(7, 7), (9, 7), (0, 7), (7, 0)])
def test_who_is_not_behind_stays(own: int, other: int) -> None:
    told(own, {1: own, 2: other}).activated((1, 2))


def test_who_is_behind_leaves_at_the_first_meeting() -> None:
    executive = told(6, {1: 6, 2: 7})
    executive.activated((1,))
    with pytest.raises(ConfigVersionError, match=r"^Received config version \(7\) is different than my config version"):
        executive.activated((1, 2))


def test_later_meetings_do_not_count() -> None:
    executive = told(6, {1: 6, 2: 6})
    executive.activated((1, 2))
    executive.message(3, encode_config_version(9))
    executive.activated((1, 2, 3))


def test_a_new_ring_begins_anew() -> None:
    executive = told(6, {2: 9})
    executive.configuration()
    assert executive.config_versions == {}


@pytest.mark.parametrize("data", [b"", b"\0" * 15, b"\0" * 16, encode_config_version(1)[:330], b"\0\0\7\0" + bytes(12)])
def test_what_is_malformed_or_for_others_is_counted(data: bytes) -> None:
    executive = Executive(1)
    executive.message(2, data)
    assert (executive.config_versions, executive.ignored) == ({}, 1)
