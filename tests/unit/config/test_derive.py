"""Derived values against the figures of corosync.conf(5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rondo.config import derive
from rondo.config.schema_node import Config
from rondo.config.schema_totem import Interface, Totem


@pytest.mark.parametrize(
    ("token", "nodes", "expected"),
    [
        (3000, 0, derive.Timers(3000, 714, 561, 3600, 500)),
        (3000, 2, derive.Timers(3000, 714, 561, 3600, 500)),
        (3000, 3, derive.Timers(3650, 869, 685, 4380, 500)),
        (3000, 16, derive.Timers(12100, 2880, 2294, 14520, 500)),
        (1000, 2, derive.Timers(1000, 238, 180, 1200, 500)),
        (1000, 3, derive.Timers(1650, 392, 303, 1980, 500)),
    ],
)
def test_timers_follow_from_token_and_the_number_of_nodes(token: int, nodes: int, expected: derive.Timers) -> None:
    assert derive.timers(Totem(token=token), nodes) == expected


def test_timers_that_are_given_stay() -> None:
    totem = Totem(token=1000, token_coefficient=0, token_retransmit=100, consensus=5000)
    assert derive.timers(totem, 5) == derive.Timers(1000, 100, 70, 5000, 500)
    assert derive.timers(Totem(hold=99), 2).token_hold_ms == 99
    assert derive.timers(Totem(token=1000, token_retransmits_before_loss_const=10), 2).token_retransmit_ms == 98


@pytest.mark.parametrize(("join", "early", "expected"), [(50, 0, 0), (50, 300, 500), (50, 700, 700), (400, 500, 3600)])
def test_early_consensus_has_the_time_for_ten_joins_but_not_more_than_consensus(
    join: int, early: int, expected: int
) -> None:
    assert derive.timers(Totem(join=join, consensus_early=early), 2).consensus_early_ms == expected


def test_windows_that_are_configured_are_kept_to() -> None:
    assert derive.windows(Totem(window_size=50)) == derive.Windows(50, 17, 10, False, True, True)
    assert derive.windows(Totem(max_messages=20)) == derive.Windows(50, 20, 10, False, True, True)


def test_windows_shrink_with_large_packets() -> None:
    assert derive.windows(Totem()) == derive.Windows(50, 17, 10, True, True, True)
    assert derive.windows(Totem(netmtu=9000)) == derive.Windows(28, 17, 10, True, True, False)
    assert derive.windows(Totem(netmtu=64000)) == derive.Windows(4, 4, 4, True, True, False)
    assert derive.windows(Totem(accelerated_window=0)) == derive.Windows(50, 17, 0, True, True, True)


def test_a_hold_that_is_configured_is_kept_to() -> None:
    assert not derive.windows(Totem(seqno_unchanged_const=30)).early_hold


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ("aes256-gcm", "none")),
        ({"secauth": True}, ("aes256-gcm", "none")),
        ({"secauth": False}, ("none", "none")),
        ({"crypto_cipher": "none"}, ("none", "none")),
        ({"crypto_cipher": "none", "crypto_hash": "none"}, ("none", "none")),
        ({"crypto_cipher": "aes128-gcm", "crypto_hash": "sha256"}, ("aes128-gcm", "none")),
        ({"crypto_cipher": "aes192", "crypto_hash": "sha512"}, ("aes192", "sha512")),
        ({"secauth": True, "crypto_cipher": "aes256"}, ("aes256", "sha256")),
    ],
)
def test_security_is_on_unless_switched_off(options: dict[str, object], expected: tuple[str, str]) -> None:
    assert derive.security(Totem.model_validate(options)) == expected


def test_node_identifiers_are_ipv4_addresses() -> None:
    assert derive.node_id_of_address("192.168.1.2", clear_high_bit=False) == 0xC0A80102
    assert derive.node_id_of_address("192.168.1.2", clear_high_bit=True) == 0x40A80102
    assert derive.node_id_of_address("fd00::1", clear_high_bit=False) is None
    assert derive.node_id_of_address("alpha", clear_high_bit=False) is None


def test_multicast_group_of_a_name() -> None:
    # "ab": 97 * 2 + 98 = 292 = 0x0124
    assert derive.multicast_group("ab", ipv6=False) == f"239.192.1.{292 % 255}"
    assert derive.multicast_group("ab", ipv6=True) == "ff15::124"


@given(st.text(min_size=1, max_size=200))
def test_the_hash_of_a_name_is_the_sum_of_its_shifted_bytes(name: str) -> None:
    data = name.encode("utf-8", "surrogatepass") if name.isascii() else name.encode(errors="ignore")
    value = sum(byte << (len(data) - 1 - index) for index, byte in enumerate(data)) & 0xFFFF
    decoded = data.decode()
    assert derive.multicast_group(decoded, ipv6=False) == f"239.192.{value >> 8}.{value % 255}"


def test_link_zero_is_found_behind_others() -> None:
    config = Config(totem=Totem(interface=(Interface(linknumber=1), Interface(mcastport=5600))))
    assert derive.link(config) == (1, Interface(mcastport=5600))
    assert derive.link(Config()) == (-1, Interface())
