"""What has no effect is warned of and keeps no node from starting, however wrong its value is."""

import pytest

from rondo.config.faults import ConfigError
from rondo.config.reader import load_text
from tests.unit.config.test_checks import NODES, load, totem, warnings

KNET = NODES.replace("nodeid: 1", "nodeid: 1\n  name: a").replace("nodeid: 2", "nodeid: 2\n  name: b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            totem("interface {", "mcastport: 5405", "}", "interface {", "ringnumber: 1", "mcastport: 5405", "}"),
            "f:6: totem.interface: has no effect: udp and udpu run over one link",
        ),
        (
            totem("interface {", "linknumber: 1", "mcastport: 0", "bindnetaddr: x", "knet_transport: sctp", "}"),
            "f:3: totem.interface: has no effect: udp and udpu run over one link",
        ),
        (
            totem("cluster_name: c", "interface {", "ringnumber: 1", "mcastaddr: x", "}", transport="udp"),
            "f:4: totem.interface: has no effect",
        ),
        (totem("interface {", "mcastaddr: 10.0.0.1", "}"), "f:4: totem.interface.mcastaddr: has no effect with"),
        (totem("interface {", "ttl: 999", "}"), "f:4: totem.interface.ttl: has no effect with transport: udpu"),
        (totem("interface {", "bindnetaddr: some.name", "}"), "f:4: totem.interface.bindnetaddr: has no effect: the"),
        (
            totem("interface {", "member {", "memberaddr: x", "}", "}"),
            "f:4: totem.interface.member: has no effect: the nodelist wins over it; remove it",
        ),
        (totem("link_mode: both"), "f:3: totem.link_mode: has no effect with transport: udpu"),
        (totem("knet_mtu: x"), "f:3: totem.knet_mtu: has no effect with transport: udpu"),
        (
            totem("knet_compression_model: lzo2"),
            "f:3: totem.knet_compression_model: has no effect with transport: udpu",
        ),
        (totem("interface {", "knet_transport: sctp", "}"), "f:4: totem.interface.knet_transport: has no effect with"),
        (totem("rrp_mode: active", transport="knet", nodes=KNET), "f:3: totem.rrp_mode: has no effect with"),
        (
            totem("interface {", "mcastaddr: x", "}", transport="knet", nodes=KNET),
            "f:4: totem.interface.mcastaddr: has",
        ),
        (totem("interface {", "bindnetaddr: x", "}", transport="knet", nodes=KNET), "the nodelist wins over it"),
        (totem("threads: many"), "f:3: totem.threads: has no effect"),
        (totem("heartbeat_failures_allowed: -1"), "f:3: totem.heartbeat_failures_allowed: has no effect"),
        (totem() + "system {\n move_to_root_cgroup: perhaps\n}\n", "system.move_to_root_cgroup: has no effect"),
        (totem() + "logging {\n blackbox: si\n}\n", "logging.blackbox: has no effect"),
        (totem() + "remote {\n port: 99999\n}\n", "remote.port: has no effect: without remote.address"),
        (
            totem() + "logging {\n logger_subsys {\n  subsys: amf\n  debug: yes\n }\n}\n",
            "logging.logger_subsys: has no effect: AMF was a part of Corosync 1 or 2; remove it",
        ),
    ],
)
def test_a_wrong_value_without_effect_is_a_warning(text: str, message: str) -> None:
    found = warnings(text)
    assert len(found) == 1, found
    assert message in found[0]


def test_a_subsystem_of_corosync_3_is_passed_over_in_silence() -> None:
    assert warnings(totem() + "logging {\n logger_subsys {\n  subsys: QUORUM\n  debug: yes\n }\n}\n") == []


@pytest.mark.parametrize("name", ["AMF", "SYNC", "CKPT", "EVT", "MSG", "PCMK", "CONFDB"])
def test_old_subsystems_are_not_taken_for_misspelt_ones(name: str) -> None:
    (warning,) = warnings(totem() + f"logging {{\n logger_subsys {{\n  subsys: {name}\n }}\n}}\n")
    assert "did you mean" not in warning
    assert "was a part of Corosync 1 or 2" in warning


def test_the_interface_that_counts_keeps_its_values() -> None:
    text = totem("interface {", "ringnumber: 1", "mcastport: 7777", "}", "interface {", "mcastport: 6666", "}")
    assert [each.mcastport for each in load(text).config.totem.interface] == [5405, 6666]


def test_what_counts_is_still_refused() -> None:
    for text, message in (
        (totem("interface {", "ringnumber: x", "}"), "'x' is not a whole number"),
        (totem("interface {", "mcastport: 0", "}"), "'0' is out of bounds"),
        (totem("link_mode: both", transport="knet", nodes=KNET), "'both' is not possible"),
        (totem("interface {", "knet_transport: sctp", "}", transport="knet", nodes=KNET), "'sctp' is not supported"),
        (totem("rrp_mode: active"), "'active' is not supported"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_text(text, "f")


@pytest.mark.parametrize("name", ["token", "consensus", "join", "merge", "hold", "token_retransmit", "max_messages"])
def test_zero_is_the_default_as_in_corosync(name: str) -> None:
    loaded = load(totem(f"{name}: 0"))
    assert loaded.config == load(totem()).config
    (warning,) = loaded.warnings
    assert str(warning) == f"f:3: totem.{name}: 0 stands for the default, as in Corosync; remove the line"


@pytest.mark.parametrize("link", [1, 7])
def test_marks_of_knet_are_found_before_anything_is_dropped(link: int) -> None:
    text = f"totem {{\n interface {{\n  linknumber: {link}\n }}\n}}\n{KNET}"
    assert any("mean knet" in warning for warning in warnings(text))
