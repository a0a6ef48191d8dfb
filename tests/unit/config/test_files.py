"""The reference in docs/, the examples in config/, and files as Corosync's documentation has them."""

from pathlib import Path

import pytest

from rondo.config.loaded import Loaded
from rondo.config.reader import load, load_text
from rondo.config.reference import reference
from rondo.config.resolver import resolve_as_first_node
from tests.unit.config.machines import FakeMachine

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted(path for path in (ROOT / "config").glob("*.conf") if path.name != "supervisord.conf")


def test_the_reference_is_current() -> None:
    stored = (ROOT / "docs" / "CONFIGURATION.md").read_text()
    assert stored == reference(), "run: python -m rondo.config.reference > docs/CONFIGURATION.md"


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 8


@pytest.mark.parametrize(
    "path", [path for path in EXAMPLES if "supervisord" not in path.name], ids=lambda path: path.name
)
def test_every_example_is_good(path: Path) -> None:
    loaded = load(path)
    assert [str(warning) for warning in loaded.warnings if "needs a nodelist" not in str(warning)] == []
    assert resolve_as_first_node(loaded, FakeMachine()).transport == loaded.config.totem.transport


def test_the_profiles_differ_in_token_alone() -> None:
    tokens = {
        name: load(ROOT / "config" / f"profile-{name}.conf").config.totem.token for name in ("lan", "vm", "cloud")
    }
    assert tokens == {"lan": 1000, "vm": 5000, "cloud": 10000}


def keys(loaded: Loaded) -> list[str]:
    return [f"{warning.place.line if warning.place else 0} {warning.key}" for warning in loaded.warnings]


def test_a_file_for_corosync_3_with_knet_by_default() -> None:
    text = """# See corosync.conf(5).
totem {
	version: 2
	# Redundant links need knet.
	cluster_name: debian
	crypto_cipher: none
	crypto_hash: none
	link_mode: passive
	interface {
		linknumber: 0
		knet_link_priority: 1
	}
	interface {
		linknumber: 1
	}
}
logging {
	fileline: off
	to_stderr: yes
	to_logfile: yes
	logfile: /var/log/corosync/corosync.log
	to_syslog: yes
	debug: off
	timestamp: on
	logger_subsys {
		subsys: QUORUM
		debug: off
	}
}
quorum {
	provider: corosync_votequorum
	expected_votes: 2
}
nodelist {
	node {
		name: node1
		nodeid: 1
		ring0_addr: 192.168.1.1
		ring1_addr: 192.168.2.1
	}
	node {
		name: node2
		nodeid: 2
		ring0_addr: 192.168.1.2
		ring1_addr: 192.168.2.2
	}
}
"""
    loaded = load_text(text, "f")
    assert keys(loaded) == [
        "2 totem",
    ]
    node = resolve_as_first_node(loaded, FakeMachine())
    assert (node.transport, node.security.enabled, node.token_timeout_ms) == ("knet", False, 3000)


def test_a_multicast_file_for_corosync_2() -> None:
    text = """compatibility: whitetank
totem {
	version: 2
	crypto_cipher: none
	crypto_hash: none
	rrp_mode: none
	interface {
		ringnumber: 0
		bindnetaddr: 192.168.1.0
		mcastaddr: 239.255.1.1
		mcastport: 5405
		ttl: 1
	}
}
quorum {
	# votes are not used
}
"""
    loaded = load_text(text, "f")
    assert keys(loaded) == ["1 compatibility", "2 totem", "7 totem.interface", "15 quorum"]
    node = resolve_as_first_node(loaded, FakeMachine())
    assert (node.transport, node.mcastaddr, node.mcastport) == ("udp", "239.255.1.1", 5405)
