"""Files for knet: what `pcs cluster setup` writes, what is derived, what is refused and where."""

import pytest

from rondo.config import resolve
from rondo.config.faults import ConfigError
from rondo.config.node import NodeConfig
from rondo.config.reader import load_text
from tests.unit.config.machines import FakeMachine

PCS = """totem {
    version: 2
    cluster_name: hacluster
    transport: knet
    ip_version: ipv4-6
    link_mode: passive
    crypto_cipher: aes256
    crypto_hash: sha256
    cluster_uuid: 4f3a1c0bd6f84e2ba1b2c3d4e5f60718
    keyfile: /etc/corosync/authkey
    interface {
        linknumber: 1
        knet_link_priority: 5
    }
}

nodelist {
    node {
        ring0_addr: 10.0.0.1
        ring1_addr: 10.1.0.1
        name: n1
        nodeid: 1
    }

    node {
        ring0_addr: 10.0.0.2
        ring1_addr: 10.1.0.2
        name: n2
        nodeid: 2
    }
}

quorum {
    provider: corosync_votequorum
    two_node: 1
}

logging {
    to_logfile: yes
    logfile: /var/log/cluster/corosync.log
    to_syslog: yes
    timestamp: on
}
"""


def resolved(text: str) -> NodeConfig:
    return resolve(load_text(text, "f", node_id=1), FakeMachine())


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_text(text, "f")
    return [str(fault) for fault in caught.value.faults]


def test_a_file_of_pcs_is_taken_as_it_is() -> None:
    config = resolved(PCS)
    assert config.transport == "knet"
    assert (config.security.cipher, config.security.hash) == ("aes256", "sha256")
    assert config.security.key_file == "/etc/corosync/authkey"
    assert config.knet.addresses == {1: {0: "10.0.0.1", 1: "10.1.0.1"}, 2: {0: "10.0.0.2", 1: "10.1.0.2"}}
    assert [(link.port, link.priority) for link in config.knet.links.values()] == [(5405, 1), (5406, 5)]
    assert NodeConfig.from_msgpack(config.to_msgpack()) == config


def test_timers_of_links_follow_from_the_token() -> None:
    text = PCS.replace("version: 2", "version: 2\n token: 4000").replace(
        "linknumber: 1", "linknumber: 1\nmcastport: 6000"
    )
    links = resolved(text).knet.links
    assert [(link.ping_interval_ms, link.ping_timeout_ms, link.port) for link in links.values()] == [
        (1000, 2000, 5405),
        (1000, 2000, 6000),
    ]


@pytest.mark.parametrize("mark", ["ring1_addr: 10.1.0.1", "link_mode: passive", "knet_link_priority: 5"])
def test_marks_of_knet_mean_knet(mark: str) -> None:
    lines = [
        line
        for line in PCS.splitlines()
        if "transport" not in line
        and (not any(each in line for each in ("ring1_addr", "link_mode", "knet_")) or mark in line)
    ]
    loaded = load_text("\n".join(lines), "f", node_id=1)
    assert resolve(loaded, FakeMachine()).transport == "knet"
    assert any("mean knet" in str(fault) for fault in loaded.warnings)


def test_with_no_word_about_encryption_packets_are_encrypted() -> None:
    config = resolved(PCS.replace("crypto_cipher: aes256", "").replace("crypto_hash: sha256", ""))
    assert (config.security.cipher, config.security.hash) == ("aes256", "sha256")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "crypto_cipher: aes256",
            "crypto_cipher: aes256-gcm",
            "f:7: totem.crypto_cipher: knet's wire has no aes256-gcm",
        ),
        ("nodeid: 2", "nodeid: 70000", "f:29: nodelist.node.nodeid: 70000 is more than knet can carry"),
        ("nodeid: 2", "", "knet needs a nodeid"),
        ("10.1.0.2", "10.1.0.1", "f:27: nodelist.node.ring1_addr: 10.1.0.1 is another node's too (line 20)"),
        ("linknumber: 1", "linknumber: 1\nmcastport: 5405", "port 5405 is that of link 0 too"),
        ("linknumber: 1", "linknumber: 1\nknet_ping_timeout: 100", "is not more than the interval of pings"),
        ("linknumber: 1", "linknumber: 1\nknet_transport: sctp", "'sctp' is not supported; Rondo's knet runs over UDP"),
        (
            "linknumber: 1",
            "linknumber: 1\n}\nknet_compression_model: lzo2\ninterface {\nlinknumber: 0",
            "there is no LZO here",
        ),
        ("transport: knet", "transport: udpu", "ring1_addr: has no place: udp and udpu run over one link"),
        ("nodelist {", "nodelists {", "knet needs to know the nodes"),
        ("nodelist {", "nozzle {\nname: noz01\n}\nnodelist {", "nozzle: Rondo makes no nozzle device"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(before: str, after: str, message: str) -> None:
    text = PCS.replace(before, after)
    assert any(message in error for error in errors(text)), errors(text)


@pytest.mark.parametrize("transport", ["udp", "udpu"])
def test_a_second_ring_without_knet_is_refused_and_knet_is_named(transport: str) -> None:
    """Files of Corosync 2 with redundant rings: an address of the second one, and `rrp_mode`."""
    for mode in ("passive", "active"):
        text = f"""totem {{
version: 2
transport: {transport}
rrp_mode: {mode}
}}
nodelist {{
node {{
ring0_addr: 10.0.0.1
ring1_addr: 10.1.0.1
nodeid: 1
}}
node {{
ring0_addr: 10.0.0.2
ring1_addr: 10.1.0.2
nodeid: 2
}}
}}
"""
        found = errors(text)
        for line, option in ((4, "rrp_mode"), (9, "ring1_addr"), (14, "ring1_addr")):
            said = [error for error in found if error.startswith(f"f:{line}: ") and option in error]
            assert len(said) == 1, (line, option, found)
            assert "transport: knet" in said[0]
