"""Every fault that a configuration can have: what is said, and on which line."""

import pytest

from rondo.config.faults import ConfigError
from rondo.config.loaded import Loaded
from rondo.config.reader import load_text

NODES = """nodelist {
 node {
  nodeid: 1
  ring0_addr: 10.0.0.1
 }
 node {
  nodeid: 2
  ring0_addr: 10.0.0.2
 }
}
"""


def totem(*lines: str, nodes: str = NODES, transport: str = "udpu") -> str:
    """A good file with these lines in totem{}. The first of them is line 3 of the file."""
    return "\n".join([f"totem {{\n transport: {transport}", *lines, "}", nodes])


def errors(text: str, node_id: int | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_text(text, "f", node_id=node_id)
    assert all(fault.severity == "error" and fault.mend for fault in caught.value.faults)
    return [str(fault) for fault in caught.value.faults]


def load(text: str) -> Loaded:
    return load_text(text, "f")


def warnings(text: str) -> list[str]:
    return [str(fault) for fault in load(text).warnings]


def test_the_files_that_the_cases_start_from_are_good() -> None:
    assert warnings(totem()) == []
    assert warnings(totem("cluster_name: c", transport="udp")) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("token: 1s", "'1s' is not a whole number; write a whole number from 30 to 86400000 (ms)"),
        ("token: 1000 # ms", "'1000 # ms' is not a whole number, a comment must have a line of its own"),
        ("token: ", "'' is not a whole number"),
        ("token: 29", "'29' is out of bounds; write a whole number from 30"),
        ("token: " + "9" * 5000, "is too large"),
        ("token: ٣٠٠٠", "is not a whole number"),
        ("token: 100", "token_retransmit would be 23 ms, less than 30; write a token of at least 127 ms"),
        ("token_retransmit: 20", "'20' is out of bounds"),
        ("hold: 13", "'13' is out of bounds; write a whole number from 14"),
        ("merge: 29", "'29' is out of bounds"),
        ("join: 3601", "3601 ms is more than consensus, 3600 ms"),
        ("consensus_early: 50", "50 ms is not more than join, 50 ms"),
        ("accelerated_window: 18", "18 is more than max_messages, which is 17; write at most 17"),
        ("version: 3", "'3' is out of bounds; write a whole number from 2 to 2"),
        ("netmtu: 65508", "out of bounds"),
        ("ip_version: ipv5", "'ipv5' is not possible; write one of ipv4, ipv6, ipv4-6, ipv6-4"),
        ("secauth: maybe", "'maybe' is neither yes nor no; write yes or no"),
        ("secauth: off\n crypto_cipher: aes256", "aes256 contradicts secauth: off"),
        ("secauth: on\n crypto_cipher: none", "none contradicts secauth: on"),
        ("crypto_cipher: aes256", "aes256 needs a crypto_hash; write crypto_hash: sha256"),
        ("secauth: on\n crypto_cipher: aes128\n crypto_hash: none", "aes128 needs a crypto_hash"),
        ("crypto_cipher: 3des", "'3des' is not supported; 3DES is broken; write aes256-gcm"),
        ("crypto_hash: MD5", "'MD5' is not supported; MD5 is broken; write sha256"),
        ("key: tooshort", "a key has 128 to 4096 bytes, this one 8"),
        (
            "rrp_mode: passive",
            "'passive' is not supported; udp and udpu run over one link; for several write transport: knet",
        ),
        ("nodeid: 3", "totem.nodeid is 3, which is no node of the nodelist; write one that it has: 1, 2"),
        ("interface: 1", "is a section, not an option; write 'interface {'"),
    ],
)
def test_wrong_values_in_totem(line: str, message: str) -> None:
    found = errors(totem(line))
    assert len(found) == 1
    assert message in found[0]
    name = line.rpartition("\n")[2].partition(":")[0].strip()
    assert f"totem.{name}: " in found[0] or "would be" in found[0] or "crypto_cipher" in found[0]
    assert found[0].startswith(("f:3: ", "f:4: "))


def test_the_value_of_a_key_is_never_repeated() -> None:
    assert "geheim" not in "".join(errors(totem("key: geheim")))


def test_all_errors_are_told_at_once_in_the_order_of_the_file() -> None:
    found = errors(totem("token: x", "join: y", "secauth: z"))
    assert [line[:4] for line in found] == ["f:3:", "f:4:", "f:5:"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["tokn: 1000"], "f:3: totem.tokn: is not known and has no effect; did you mean 'token'?"),
        (["TOKEN: 1000"], "f:3: totem.TOKEN: is not known and has no effect; did you mean 'token'?"),
        (["frobnicate: 1"], "f:3: totem.frobnicate: is not known and has no effect"),
        (["token: 1000", "token: 2000"], "f:4: totem.token: is given again; the value at line 3 is overridden"),
        (
            ["interfac {", "}"],
            "f:3: totem.interfac: is not a known section and has no effect; did you mean 'interface'?",
        ),
        (["token {", "}"], "f:3: totem.token: is an option, not a section and has no effect"),
        (["rrp_problem_count_timeout: 1"], "has no effect: redundant rings are those of Corosync 2"),
        (["secauth: off", "crypto_hash: sha256"], "totem.crypto_hash: has no effect: security is off"),
        (["crypto_hash: sha256"], "totem.crypto_hash: has no effect: aes256-gcm authenticates by itself"),
        (["crypto_cipher: aes256", "crypto_hash: sha1"], "totem.crypto_hash: SHA-1 is old; write sha256 on all nodes"),
        (["keyfile: /k", "key: " + "k" * 128], "f:4: totem.key: has no effect: keyfile wins over it"),
        (["consensus: 3599"], "3599 ms is less than 1.2 times the token timeout, which is 3000 ms: nodes may"),
        (["window_size: 171"], "171 is more than 256000 / netmtu: kernel buffers would overflow; 170 is used"),
        (["max_messages: 99999"], "99999 is more than 256000 / netmtu"),
        (["secauth: off", "key: short"], "f:4: totem.key: has no effect: security is off; remove it"),
        (["token_retransmit: 3000"], "3000 ms is not less than token, 3000 ms"),
        (["consensus_early: 4000"], "4000 ms has no effect: consensus is 3600 ms"),
        (["interface {", "mcastaddr: 239.1.1.1", "}"], "totem.interface.mcastaddr: has no effect with transport: udpu"),
        (["interface {", "bindnetaddr: 10.0.0.0", "}"], "has no effect: the nodelist wins over it"),
        (
            ["interface {", "}", "interface {", "linknumber: 1", "}"],
            "f:5: totem.interface: has no effect: udp and udpu run",
        ),
    ],
)
def test_warnings_in_totem(lines: list[str], message: str) -> None:
    assert [message in warning for warning in warnings(totem(*lines))] == [True]


def node(address: str, *, node_id: int | None = None, name: str = "") -> str:
    lines = [f"ring0_addr: {address}"]
    lines += [f"nodeid: {node_id}"] if node_id is not None else []
    lines += [f"name: {name}"] if name else []
    return "node {\n" + "\n".join(lines) + "\n}\n"


def nodelist(*nodes: str) -> str:
    return totem(nodes="nodelist {\n" + "".join(nodes) + "}\n")


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ((node("10.0.0.1", node_id=1), node("10.0.0.2", node_id=1)), "1 is another node's too (line 7)"),
        ((node("10.0.0.1", node_id=0),), "'0' is out of bounds; write a whole number from 1"),
        ((node("10.0.0.1"), node("10.0.0.2", node_id=0x0A000001)), "167772161 is another node's too"),
        ((node("10.0.0.1", node_id=1), node("10.0.0.1", node_id=2)), "'10.0.0.1' is another node's too (line 6)"),
        ((node("10.0.0.1", node_id=1, name="a"), node("10.0.0.2", node_id=2, name="A")), "'a' is another node's too"),
        ((node("10.0.0.1", node_id=1), node("fd00::2", node_id=2)), "fd00::2 is IPv6, but 10.0.0.1 (line 6) is not"),
        ((node("fd00::1"),), "'fd00::1' is no IPv4 address that one could be made of; write nodeid:"),
        ((node("alpha"),), "'alpha' is no IPv4 address"),
        ((node("fe80::1", node_id=1),), "write fe80::1%eth0 with the interface's name"),
        ((node("0.0.0.0", node_id=1),), "0.0.0.0 is not the address of one node"),
        ((node("239.1.1.1", node_id=1),), "239.1.1.1 is not the address of one node"),
        ((node("127.0.0.1", node_id=1), node("10.0.0.2", node_id=2)), "'127.0.0.1' is a loopback address, which"),
        ((node("10.0.0.1", node_id=1), node("localhost", node_id=2)), "'localhost' is a loopback address"),
        ((node("10.0.0.300", node_id=1),), "'10.0.0.300' is neither an address nor a host name"),
        ((node("-x", node_id=1),), "'-x' is neither an address nor a host name"),
        (("node {\nnodeid: 1\n}\n",), "nodelist.node.ring0_addr: is missing; write an IP address or a host name"),
        (tuple(node(f"10.0.{n >> 8}.{n & 255}", node_id=n) for n in range(1, 386)), "has 385 nodes, a ring takes 384"),
    ],
)
def test_wrong_nodelists(nodes: tuple[str, ...], message: str) -> None:
    found = errors(nodelist(*nodes))
    assert message in found[0]


@pytest.mark.parametrize(
    "nodes",
    [
        (node("127.0.0.1", node_id=1), node("127.0.0.2", node_id=2)),
        (node("fe80::1%eth0", node_id=1),),
        (node("fd00::1", node_id=1), node("beta.example.", node_id=2)),
        (node("10.0.0.1"), node("10.0.0.2")),
    ],
)
def test_good_nodelists(nodes: tuple[str, ...]) -> None:
    assert warnings(nodelist(*nodes)) == []


def interface(*lines: str, transport: str = "udp", more: str = "", nodes: str = "") -> str:
    return totem("interface {", *lines, "}", more, nodes=nodes, transport=transport)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (totem(nodes=""), "totem.transport: udpu needs to know the nodes; write a nodelist with every node"),
        (totem("cluster_name: c", nodes="", transport="udp"), "there is no address of this node; write a nodelist"),
        (totem(transport="udp"), "udp needs a multicast group; write mcastaddr, or totem.cluster_name"),
        (interface("bindnetaddr: 10.0.0.0", "broadcast: yes", "mcastaddr: 239.1.1.1"), "exclude each other"),
        (interface("bindnetaddr: fd00::1", "broadcast: yes", more="nodeid: 1"), "IPv6 has no broadcast"),
        (interface("bindnetaddr: fd00::1", "mcastaddr: ff15::1"), "IPv6 needs a nodeid; write totem.nodeid"),
        (interface("bindnetaddr: fd00::1", "mcastaddr: 239.1.1.1", more="nodeid: 1"), "239.1.1.1 is IPv4, the nodes'"),
        (interface("mcastaddr: ff15::1", nodes=NODES), "ff15::1 is IPv6, the nodes' addresses are not"),
        (interface("mcastaddr: 10.0.0.1", nodes=NODES), "'10.0.0.1' is not a multicast address"),
        (interface("bindnetaddr: eth0", "mcastaddr: 239.1.1.1"), "'eth0' is not an IP address"),
        (interface("mcastport: 1", nodes=NODES), "'1' is out of bounds; write a whole number from 2 to 65535"),
        (interface("ttl: 256", nodes=NODES), "'256' is out of bounds"),
        (totem("interface {", "}", "interface {", "}"), "a second interface for link 0"),
        (totem(*["interface {", "}"] * 9), "more than 8 interfaces"),
        (
            interface("member {", "memberaddr: fd00::1", "}", transport="udpu"),
            "an IPv6 node needs a nodeid; write a nodelist",
        ),
        (interface("member {", "memberaddr: 10.0.0.1", "}", transport="udp", more="cluster_name: c"), "is for udpu"),
        (
            interface(*["member {", "memberaddr: 10.0.0.1", "}"] * 2, transport="udpu"),
            "10.0.0.1 is given twice",
        ),
        (
            interface("member {", "memberaddr: 10.0.0.1", "}", transport="udpu", more="nodeid: 7"),
            "with member{} lists the identifiers follow from the IPv4 addresses",
        ),
        (interface("member {", "}", transport="udpu"), "totem.interface.member.memberaddr: is missing"),
    ],
)
def test_wrong_networks(text: str, message: str) -> None:
    assert message in errors(text)[0]


def test_a_node_that_the_command_line_names_must_exist() -> None:
    assert "--nodeid is 9, which is no node of the nodelist" in errors(totem(), node_id=9)[0]
    assert load_text(totem(), "f", node_id=2).node_id == 2


def test_multicast_without_nodelist_is_for_rondo_nodes_only() -> None:
    found = warnings(interface("bindnetaddr: 10.0.0.0", "mcastaddr: 239.1.1.1"))
    assert len(found) == 1
    assert "this runs among Rondo nodes only; a ring with C Corosync 3.1 members needs a nodelist" in found[0]


def test_without_a_transport_the_choice_is_told() -> None:
    assert warnings("totem {\n}\n" + NODES) == [
        "f:1: totem: no transport is given, udpu is used; write transport: udpu on all nodes"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resources {\n}", "resources: has no effect: Rondo does not watch resources"),
        ("loging {\n}", "loging: is not a known section and has no effect; did you mean 'logging'?"),
        ("top: 1", "top: is not known and has no effect"),
        ("logging {\nlogger_subsys {\nsubsys: TOTM\n}\n}", "no subsystem 'TOTM'; did you mean TOTEM?"),
        ("logging {\nlogger_subsys {\nsubsys: CPG\n}\nlogger_subsys {\nsubsys: cpg\n}\n}", "'cpg' is given again"),
        ("uidgid {\n}", "uidgid: names nobody; write uid: or gid:"),
        ("system {\npriority: max\n}", "system.priority: has no effect: start Rondo under nice(1) instead"),
    ],
)
def test_warnings_in_other_sections(text: str, message: str) -> None:
    assert [message in warning for warning in warnings(totem() + text)] == [True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("logging {\nto_logfile: yes\n}", "logging.to_logfile: there is no logfile; write logfile: and its path"),
        ("logging {\nlogger_subsys {\ndebug: on\n}\n}", "logging.logger_subsys.subsys: is missing"),
        ("logging {\nlogger_subsys {\nsubsys: CPG\nto_logfile: on\n}\n}", "there is no logfile"),
        ("logging {\ndebug: loud\n}", "'loud' is not possible; write one of off, on, trace"),
        ("cpg {\nclient_bytes_max: 67108865\n}", "67108865 is more than system.log_bytes_max, 67108864"),
        ("cpg {\nmessage_size_max: 1\n}", "out of bounds; write a whole number from 1048576 to 134217728 (bytes)"),
        ("system {\ncpu_affinity: 3-1\n}", "'3-1' is not a list of CPU numbers; write CPU numbers like 0,2-3, or none"),
        ("system {\nservice_timeout: 5s\n}", "'5s' is not a whole number"),
    ],
)
def test_wrong_values_in_other_sections(text: str, message: str) -> None:
    assert message in errors(totem() + text)[0]


def test_what_is_the_same_for_many_nodes_is_warned_of_once() -> None:
    nodes = [node(f"10.0.0.{n}\nweight: 1", node_id=n) for n in (1, 2, 3)]
    assert [warning.split(": ")[1] for warning in warnings(nodelist(*nodes))] == ["nodelist.node.weight"]
