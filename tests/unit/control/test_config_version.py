"""The config_version that nodes tell each other is laid out as Corosync has it, and anything else is refused."""

from __future__ import annotations

import struct

import pytest

from services.control.config_version import ConfigVersions, MalformedError, decode, encode
from services.totem.wire import packets
from services.totem.wire.executive import Service, service_of
from services.totem.wire.packets import Group
from tests.unit.wire.layouts import cmap_item
from tests.unit.wire.test_captures import messages, without_padding


@pytest.mark.parametrize("version", [1, 7, 0x0102030405060708, 2**64 - 1])
def test_a_config_version_is_as_laid_out(version: int) -> None:
    assert encode(version) == cmap_item(version)
    for fill in (0, 0xEE):
        assert decode(cmap_item(version, fill=fill)) == version


def test_no_config_version_is_an_item_without_value() -> None:
    assert encode(0) == cmap_item(None)
    assert decode(cmap_item(None)) == 0


def test_an_item_with_another_key_is_not_a_config_version() -> None:
    for key in (b"totem.config_versio", b"totem.config_version2", b""):
        assert decode(cmap_item(7, key=key)) is None


@pytest.mark.parametrize("key_length", [0, 19, 21, 256, 65535])
def test_a_key_that_lies_about_its_length_is_another_key(key_length: int) -> None:
    item = bytearray(cmap_item(7))
    struct.pack_into("<H", item, 48, key_length)
    assert decode(bytes(item)) is None


@pytest.mark.parametrize(("kind", "length"), [(0, 0), (7, 8), (8, 4), (8, 7), (8, 9), (8, 2**64 - 1), (255, 8)])
def test_a_value_of_another_type_or_length_is_no_version(kind: int, length: int) -> None:
    item = bytearray(cmap_item(7))
    struct.pack_into("<B7xQ", item, 48 + 264, kind, length)
    assert decode(bytes(item)) == 0


def test_a_message_cut_anywhere_is_refused() -> None:
    whole = encode(7)
    for end in range(len(whole)):
        with pytest.raises(MalformedError):
            decode(whole[:end])


@pytest.mark.parametrize("name", ["udp", "udpu"])
def test_what_real_nodes_sent_encodes_to_the_same_bytes(name: str) -> None:
    found = 0
    for _, _, whole in messages(name):
        group, at = packets.split_group(whole)
        if group is Group.EXECUTIVE and service_of(whole[at:]) == (Service.CMAP, 0):
            found += 1
            assert decode(whole[at:]) == 7
            assert encode(7) == without_padding(whole[at:])
    assert found


def test_who_has_met_others_stays_whatever_comes_later() -> None:
    versions = ConfigVersions()
    for node in (1, 2):
        versions.heard(node, encode(5), (1, 2))
    assert versions.judge(5, (1, 2)) is None
    versions.ring_changed()
    for node, version in ((1, 5), (2, 5), (3, 9)):
        versions.heard(node, encode(version), (1, 2, 3))
    assert versions.judge(5, (1, 2, 3)) is None, "the newer one has come to those who are there"
    assert ConfigVersions.restore(versions.snapshot()).judge(5, (1, 2, 3)) is None
    first_meeting = ConfigVersions()
    first_meeting.heard(3, encode(9), (1, 3))
    assert first_meeting.judge(5, (1, 3)) is not None


def test_only_members_tell_versions() -> None:
    versions = ConfigVersions()
    assert versions.heard(3, encode(9), (1, 2)) is None
    assert versions.judge(5, (1, 2)) is None
    assert versions.told == {}
