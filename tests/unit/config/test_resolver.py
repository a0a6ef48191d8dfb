"""What a node runs with: which node it is, who the others are, what follows from the file."""

import os
from pathlib import Path

import pytest

from rondo.config import ConfigError, NodeConfig, SecuritySettings
from rondo.config.local_node import NotThisMachineError
from rondo.config.machine import Machine
from rondo.config.reader import load, load_text
from rondo.config.resolver import resolve, resolve_as_first_node
from tests.unit.config.machines import FakeMachine

NODES = """totem {
 transport: udpu
 cluster_name: c
}
nodelist {
 node {
  name: alpha
  nodeid: 11
  ring0_addr: 10.0.0.1
 }
 node {
  name: beta.example.org
  nodeid: 12
  ring0_addr: 10.0.0.2
 }
 node {
  nodeid: 13
  ring0_addr: gamma.example.org
 }
}
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RONDO_STATE_DIR", "COROSYNC_TOTEM_AUTHKEY_FILE", "COROSYNC_MAIN_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)


def node(text: str, machine: Machine, node_id: int | None = None) -> NodeConfig:
    return resolve(load_text(text, "f", node_id=node_id), machine)


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (FakeMachine("alpha"), 11),
        (FakeMachine("ALPHA"), 11),
        (FakeMachine("alpha.example.org"), 11),
        (FakeMachine("beta.example.org"), 12),
        (FakeMachine("beta"), 12),
        (FakeMachine("gamma.example.org"), 13),
        (FakeMachine("gamma"), 13),
        (FakeMachine(addresses=("10.0.0.2/24",)), 12),
        (FakeMachine(addresses=("10.9.9.9/8",), names={"gamma.example.org": ["fd00::1", "10.9.9.9"]}), 13),
        (FakeMachine("alpha", addresses=("10.0.0.2/24",)), 11),
    ],
)
def test_a_machine_finds_itself_by_name_then_by_address(machine: FakeMachine, expected: int) -> None:
    assert node(NODES, machine).node_id == expected


def test_the_command_line_then_the_file_say_which_node_it_is() -> None:
    assert node(NODES, FakeMachine("alpha"), node_id=12).node_id == 12
    chosen = NODES.replace("cluster_name", "nodeid: 13\n cluster_name")
    assert node(chosen, FakeMachine("alpha")).node_id == 13
    assert node(chosen, FakeMachine("alpha"), node_id=12).node_id == 12


def test_a_machine_that_is_not_in_the_nodelist() -> None:
    with pytest.raises(NotThisMachineError, match=r"f:5: nodelist: no node has the name 'elsewhere' or an address"):
        node(NODES, FakeMachine(addresses=("10.0.0.9/24",)))
    assert resolve_as_first_node(load_text(NODES, "f"), FakeMachine()).node_id == 11


def test_several_nodes_with_addresses_of_this_machine_must_be_told_apart() -> None:
    nodes = "".join(f"node {{\nnodeid: {n}\nring0_addr: 127.0.0.{n}\n}}\n" for n in (1, 2, 3))
    text = "totem {\ntransport: udpu\n}\nnodelist {\n" + nodes + "}\n"
    with pytest.raises(NotThisMachineError, match="several nodes have an address of this machine: 1, 2, 3; say which"):
        node(text, FakeMachine())
    assert node(text, FakeMachine(), node_id=2).local_address == "127.0.0.2"


def test_a_nodelist_for_udpu() -> None:
    resolved = node(NODES, FakeMachine("beta"))
    assert resolved.members == {11: ("10.0.0.1",), 12: ("10.0.0.2",), 13: ("gamma.example.org",)}
    assert (resolved.transport, resolved.local_address, resolved.mcastaddr) == ("udpu", "10.0.0.2", "")
    assert (resolved.token_timeout_ms, resolved.consensus_timeout_ms) == (3650, 4380)
    assert resolved.ip_version == "ipv6-4"
    assert resolved.security == SecuritySettings("aes256-gcm", "none", "/etc/corosync/authkey")
    assert resolved.security.enabled


def test_node_identifiers_follow_from_addresses() -> None:
    text = "totem {\ntransport: udpu\nclear_node_high_bit: yes\n}\nnodelist {\nnode {\nring0_addr: 192.168.0.1\n}\n}\n"
    resolved = node(text, FakeMachine(addresses=("192.168.0.1/24",)))
    assert resolved.members == {0x40A80001: ("192.168.0.1",)}


MULTICAST = """totem {
 transport: udp
 cluster_name: ab
 interface {
  bindnetaddr: %s
  %s
 }
}
"""


@pytest.mark.parametrize(
    ("bindnetaddr", "addresses", "expected"),
    [
        ("10.1.0.0", ("192.168.0.1/24", "10.1.2.3/16"), "10.1.2.3"),
        ("10.1.2.3", ("10.1.9.9/16", "10.1.2.3/16"), "10.1.2.3"),
        ("10.1.2.64", ("10.1.2.3/26", "10.1.2.92/26"), "10.1.2.92"),
        ("127.0.0.9", ("127.0.0.1/8",), "127.0.0.9"),
    ],
)
def test_bindnetaddr_is_an_address_or_a_network(bindnetaddr: str, addresses: tuple[str, ...], expected: str) -> None:
    resolved = node(MULTICAST % (bindnetaddr, ""), FakeMachine(addresses=addresses))
    assert resolved.local_address == expected
    assert resolved.members == {}
    assert resolved.mcastaddr == "239.192.1.37"
    assert resolved.ip_version == "ipv4"


def test_bindnetaddr_without_an_interface_names_what_there_is() -> None:
    with pytest.raises(
        NotThisMachineError, match=r"f:5: totem\.interface\.bindnetaddr: .*10\.1\.0\.0; it has 10\.2\.0\.1"
    ):
        node(MULTICAST % ("10.1.0.0", ""), FakeMachine(addresses=("10.2.0.1/24",)))


def test_ipv6_multicast_needs_the_exact_address() -> None:
    machine = FakeMachine(addresses=("fd00::5/64",))
    resolved = node(MULTICAST % ("fd00::5", ""), machine, node_id=5)
    assert (resolved.node_id, resolved.local_address, resolved.mcastaddr) == (5, "fd00::5", "ff15::124")
    with pytest.raises(NotThisMachineError):
        node(MULTICAST % ("fd00::", ""), machine, node_id=5)


def test_broadcast_and_ports() -> None:
    resolved = node(
        MULTICAST % ("10.0.0.0", "broadcast: yes\n mcastport: 5600"), FakeMachine(addresses=("10.0.0.1/24",))
    )
    assert (resolved.mcastaddr, resolved.broadcast, resolved.mcastport) == ("255.255.255.255", True, 5600)


MEMBERS = """totem {
 transport: udpu
 interface {
  bindnetaddr: 10.0.1.0
  member {
   memberaddr: 10.0.0.1
  }
  member {
   memberaddr: 10.0.1.2
  }
 }
}
"""


def test_member_lists_of_corosync_2() -> None:
    resolved = node(MEMBERS, FakeMachine(addresses=("10.0.0.1/24",)))
    assert resolved.node_id == 0x0A000001
    assert resolved.members == {0x0A000001: ("10.0.0.1",), 0x0A000102: ("10.0.1.2",)}
    both = FakeMachine(addresses=("10.0.0.1/24", "10.0.1.2/24"))
    assert node(MEMBERS, both).local_address == "10.0.1.2"
    assert node(MEMBERS, both, node_id=0x0A000001).local_address == "10.0.0.1"
    with pytest.raises(NotThisMachineError, match="no member has an address of this machine"):
        node(MEMBERS, FakeMachine())


def test_logging_of_a_subsystem_lies_over_the_general() -> None:
    text = (
        NODES
        + "logging {\nto_syslog: yes\ndebug: on\nlogger_subsys {\nsubsys: cpg\ndebug: trace\nto_stderr: no\n}\n}\n"
    )
    resolved = node(text, FakeMachine("alpha"))
    assert resolved.log_settings("totem").debug == "on"
    cpg = resolved.log_settings("cpg")
    assert (cpg.debug, cpg.to_stderr, cpg.to_syslog) == ("trace", False, True)


def test_users_and_groups_become_numbers() -> None:
    text = NODES + "uidgid {\nuid: ops\ngid: 5\n}\nuidgid {\nuid: 7\n}\n"
    resolved = node(text, FakeMachine("alpha", users={"ops": 1001}))
    assert (resolved.allowed_uids, resolved.allowed_gids) == ((7, 1001), (5,))
    with pytest.raises(ConfigError, match=r"f:\d+: uidgid\.uid: there is no user 'ops' on this machine"):
        node(text, FakeMachine("alpha"))


def test_users_in_a_directory_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "uidgid.d").mkdir()
    (tmp_path / "uidgid.d" / "app").write_text("uidgid {\nuid: 1234\n}\nquorum {\n}\n")
    file = tmp_path / "corosync.conf"
    file.write_text(NODES)
    loaded = load(file)
    assert [str(warning) for warning in loaded.warnings] == [
        f"{tmp_path}/uidgid.d/app:4: quorum: has no effect: only uidgid sections count in uidgid.d"
    ]
    assert resolve(loaded, FakeMachine("alpha")).allowed_uids == (1234,)


def test_what_is_no_file_in_that_directory_is_skipped(tmp_path: Path) -> None:
    directory = tmp_path / "uidgid.d"
    (directory / "old").mkdir(parents=True)
    (directory / ".git").mkdir()
    (directory / "dangling").symlink_to("nothing")
    (directory / "loop").symlink_to("loop")
    os.mkfifo(directory / "pipe")
    (directory / "user").write_text("uidgid {\nuid: 1234\n}\n")
    (directory / "user_too").symlink_to("user")
    file = tmp_path / "corosync.conf"
    file.write_text(NODES)
    loaded = load(file)
    assert [str(warning).removeprefix(f"{directory}/") for warning in loaded.warnings] == [
        "dangling: is a link to nothing; it is skipped",
        "loop: is a link to nothing; it is skipped",
        "old: is no regular file; it is skipped",
        "pipe: is no regular file; it is skipped",
    ]
    assert resolve(loaded, FakeMachine("alpha")).allowed_uids == (1234,)


def test_a_mistake_in_that_directory_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "uidgid.d").mkdir()
    (tmp_path / "uidgid.d" / "app").write_text("uidgid {\nuid 1234\n}\n")
    (tmp_path / "corosync.conf").write_text(NODES)
    with pytest.raises(ConfigError, match=r"uidgid.d/app:2: 'uid 1234' is not understood"):
        load(tmp_path / "corosync.conf")


def test_a_key_file_by_option_environment_and_default(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = FakeMachine("alpha")
    monkeypatch.setenv("COROSYNC_TOTEM_AUTHKEY_FILE", "/from/environment")
    assert node(NODES, machine).security.key_file == "/from/environment"
    given = NODES.replace("cluster_name", "keyfile: /from/file\n cluster_name")
    assert node(given, machine).security.key_file == "/from/file"
    inline = NODES.replace("cluster_name", f"key: {'k' * 128}\n cluster_name")
    security = node(inline, machine).security
    assert (security.key_file, security.key) == ("", b"k" * 128)
    assert "kkk" not in repr(security)


def test_the_state_directory_by_option_environment_and_file(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_text(NODES + "system {\nstate_dir: /from/file\n}\n", "f")
    machine = FakeMachine("alpha")
    assert resolve(loaded, machine).state_dir == "/from/file"
    monkeypatch.setenv("RONDO_STATE_DIR", "/from/environment")
    assert resolve(loaded, machine).state_dir == "/from/environment"
    assert resolve(loaded, machine, state_dir="/from/option").state_dir == "/from/option"


def test_without_a_file_there_is_a_single_node_on_loopback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("rondo.paths.CONFIG_FILE_DEFAULT", str(tmp_path / "none"))
    loaded = load()
    assert (loaded.file, loaded.warnings) == ("", ())
    resolved = resolve(loaded, FakeMachine(), state_dir="/state")
    assert (resolved.node_id, resolved.transport, resolved.members) == (1, "udpu", {1: ("127.0.0.1",)})
    assert resolved.security == SecuritySettings("aes256-gcm", "none", "/state/authkey", key_created_if_missing=True)


def test_a_default_file_that_may_not_be_read_is_not_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.setattr("rondo.paths.CONFIG_FILE_DEFAULT", str(tmp_path / "loop"))
    with pytest.raises(ConfigError, match="loop: Too many levels of symbolic links"):
        load()


def test_a_file_that_somebody_named_must_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COROSYNC_MAIN_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="no such file"):
        load()


def test_remote_clients_are_off_unless_there_is_an_address() -> None:
    text = NODES + "remote {\n port: 6000\n keyfile: /k\n}\n"
    loaded = load_text(text, "f")
    assert not resolve_as_first_node(loaded, FakeMachine()).remote.enabled
    assert [str(w) for w in loaded.warnings if "remote" in str(w)] == [
        f"f:{line}: remote.{name}: has no effect: without remote.address there are no remote clients; "
        "write the address to listen at, or remove this"
        for line, name in ((22, "port"), (23, "keyfile"))
    ]
    on = resolve_as_first_node(load_text(text.replace("port: 6000", "address: 10.0.0.1"), "f"), FakeMachine()).remote
    assert (on.enabled, on.address, on.port, on.key_file) == (True, "10.0.0.1", 5410, "/k")
    assert on.clients_file == "/etc/corosync/clients"
