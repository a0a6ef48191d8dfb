"""What rules of nftables do to a packet of the ring, as `nft --json list ruleset` prints them."""

import ipaddress
from typing import Any

import pytest

from rondo.doctor.ruleset import Packet, Verdict, judge

OWN, OTHER = ipaddress.ip_address("10.0.0.1"), ipaddress.ip_address("10.0.0.2")
MULTICAST = Packet(OTHER, ipaddress.ip_address("239.192.1.1"), 5405, "eth0", True)
INCOMING = Packet(OTHER, OWN, 5405, "eth0", True)
OUTGOING = Packet(OWN, OTHER, 5405, "eth0", False)

Json = dict[str, Any]


def match(protocol: str, field: str, right: Any, op: str = "==") -> Json:
    return {"match": {"op": op, "left": {"payload": {"protocol": protocol, "field": field}}, "right": right}}


def meta(key: str, right: Any, op: str = "==") -> Json:
    return {"match": {"op": op, "left": {"meta": {"key": key}}, "right": right}}


def chain(hook: str, *rules: list[Json], policy: str = "accept", family: str = "inet", prio: int = 0) -> list[Json]:
    name = f"{hook}{prio}"
    made = {
        "family": family,
        "table": "t",
        "name": name,
        "type": "filter",
        "hook": hook,
        "prio": prio,
        "policy": policy,
    }
    return [
        {"chain": made},
        *({"rule": {"family": family, "table": "t", "chain": name, "expr": each}} for each in rules),
    ]


def ruleset(*chains: list[Json]) -> Json:
    return {"nftables": [{"metainfo": {}}, *(item for each in chains for item in each)]}


DROP: Json = {"drop": None}
ACCEPT: Json = {"accept": None}
COUNTER: Json = {"counter": {"packets": 0, "bytes": 0}}
PORT = match("udp", "dport", 5405)
ESTABLISHED: Json = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}
LIMIT: Json = {"limit": {"rate": 10, "burst": 5, "per": "second"}}


@pytest.mark.parametrize(
    "rules",
    [
        [[PORT, DROP]],
        [[PORT, COUNTER, {"reject": {"type": "icmp", "expr": "port-unreachable"}}]],
        [[match("udp", "dport", {"set": [5404, 5405]}), DROP]],
        [[match("udp", "dport", {"set": [1, {"range": [5400, 5500]}]}), DROP]],
        [[match("udp", "dport", {"range": [5400, 5500]}), DROP]],
        [[match("udp", "dport", 22, "!="), DROP]],
        [[match("ip", "saddr", {"prefix": {"addr": "10.0.0.0", "len": 24}}), DROP]],
        [[match("ip", "saddr", "10.0.0.2"), DROP]],
        [[meta("l4proto", "udp"), DROP]],
        [[meta("l4proto", 17), DROP]],
        [[meta("iifname", "eth*"), DROP]],
        [[match("tcp", "dport", 22), ACCEPT], [DROP]],
        [[ESTABLISHED, ACCEPT], [DROP]],
        [[meta("iifname", "lo"), ACCEPT], [DROP]],
    ],
)
def test_dropped_for_certain(rules: list[list[Json]]) -> None:
    assert judge(ruleset(chain("input", *rules)), INCOMING) == Verdict(False, True, "inet t input0")


@pytest.mark.parametrize(
    "rules",
    [
        [],
        [[match("udp", "dport", 5406), DROP]],
        [[match("udp", "dport", {"set": [1, 2]}), DROP]],
        [[match("tcp", "dport", 5405), DROP]],
        [[match("ip", "saddr", {"prefix": {"addr": "10.0.1.0", "len": 24}}), DROP]],
        [[match("ip6", "saddr", "fd00::1"), DROP]],
        [[PORT, ACCEPT], [DROP]],
        [[meta("iifname", "eth1"), DROP]],
        [[PORT, {"return": None}], [DROP]],
    ],
)
def test_let_pass(rules: list[list[Json]]) -> None:
    verdict = judge(ruleset(chain("input", *rules)), INCOMING)
    assert verdict.passes


def test_a_policy_counts_where_no_rule_does() -> None:
    closed = ruleset(chain("input", [match("tcp", "dport", 22), ACCEPT], policy="drop"))
    assert not judge(closed, INCOMING).passes
    assert judge(ruleset(chain("input", [PORT, ACCEPT], policy="drop")), INCOMING).passes


def test_directions_are_apart() -> None:
    assert judge(ruleset(chain("input", [PORT, DROP])), OUTGOING).passes
    assert not judge(ruleset(chain("output", [PORT, DROP])), OUTGOING).passes
    assert judge(ruleset(chain("output", [PORT, DROP])), INCOMING).passes
    assert judge(ruleset(chain("forward", [DROP])), INCOMING).passes


def test_every_chain_has_to_let_it_pass() -> None:
    rules = ruleset(chain("input", [PORT, ACCEPT], prio=-10), chain("input", [PORT, DROP], prio=10))
    assert judge(rules, INCOMING) == Verdict(False, True, "inet t input10")
    assert not judge(ruleset(chain("prerouting", [PORT, DROP], prio=-300)), INCOMING).passes


def test_the_other_family_does_not_count() -> None:
    assert judge(ruleset(chain("input", [DROP], family="ip6")), INCOMING).passes
    assert not judge(ruleset(chain("input", [DROP], family="ip")), INCOMING).passes


def test_a_rule_that_cannot_be_judged_makes_the_verdict_uncertain() -> None:
    """A limit before an accept: it may have let the packet pass."""
    rules = ruleset(chain("input", [PORT, LIMIT, ACCEPT], [DROP]))
    assert judge(rules, INCOMING) == Verdict(False, False, "inet t input0")
    unknown_set = ruleset(chain("input", [match("ip", "saddr", "@friends"), ACCEPT], policy="drop"))
    assert judge(unknown_set, INCOMING) == Verdict(False, False, "inet t input0")
    assert judge(ruleset(chain("input", [PORT, LIMIT, DROP])), INCOMING) == Verdict(True, False)


def test_a_jump_goes_there_and_comes_back() -> None:
    def other(*expr: Json) -> list[Json]:
        made = {"family": "inet", "table": "t", "name": "other"}
        return [{"chain": made}, {"rule": {"family": "inet", "table": "t", "chain": "other", "expr": list(expr)}}]

    jump: Json = {"jump": {"target": "other"}}
    assert not judge(ruleset(chain("input", [PORT, jump]), other(DROP)), INCOMING).passes
    assert judge(ruleset(chain("input", [PORT, jump], [DROP]), other(ACCEPT)), INCOMING).passes
    assert not judge(ruleset(chain("input", [PORT, jump], [DROP]), other({"return": None})), INCOMING).passes


def test_a_chain_that_jumps_to_itself_ends() -> None:
    loop = [
        *chain("input", [{"jump": {"target": "x"}}]),
        {"chain": {"family": "inet", "table": "t", "name": "x"}},
        {"rule": {"family": "inet", "table": "t", "chain": "x", "expr": [{"jump": {"target": "x"}}]}},
    ]
    assert judge({"nftables": loop}, INCOMING) == Verdict(True, False)


def test_rules_for_multicast_alone() -> None:
    for rule in (match("ip", "daddr", {"prefix": {"addr": "224.0.0.0", "len": 4}}), meta("pkttype", "multicast")):
        rules = ruleset(chain("input", [rule, DROP]))
        assert judge(rules, MULTICAST).passes is False
        assert judge(rules, MULTICAST).certain is True
        assert judge(rules, INCOMING) == Verdict(True)
