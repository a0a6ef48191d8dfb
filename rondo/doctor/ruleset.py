"""The effect of the rules of nftables on one packet. No I/O: rules come in the form of `nft --json list ruleset`.

Rules of iptables-nft, firewalld and ufw are included. Some matches cannot be evaluated here (limits, sets that change,
extensions of iptables). A rule with such a match may apply or not, and the verdict after it is uncertain.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

JUMPS_MAX = 16
"""nftables' own limit."""

_DENIALS = ("drop", "reject")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Packet:
    """A UDP packet that opens a flow."""

    source: _Address
    destination: _Address
    destination_port: int
    interface: str
    """The interface that it enters by, or leaves by."""
    is_incoming: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """The fate of a packet."""

    passes: bool
    certain: bool = True
    """False: a rule before it cannot be evaluated."""
    by: str = ""
    """The table and chain that drops it."""


@dataclass(slots=True)
class _Chain:
    name: str
    family: str
    table: str
    hook: str = ""
    priority: int = 0
    policy: str = "accept"
    rules: list[list[dict[str, Any]]] = field(default_factory=list)


_HOOKS = {True: ("prerouting", "input"), False: ("output", "postrouting")}


def judge(ruleset: dict[str, Any], packet: Packet) -> Verdict:
    """The verdict on a packet. Each chain at its hooks has to accept it, in the order of hooks and priorities."""
    chains = _chains(ruleset, packet.source.version)
    certain = True
    for hook in _HOOKS[packet.is_incoming]:
        bases = sorted((each for each in chains.values() if each.hook == hook), key=lambda each: each.priority)
        for base in bases:
            told, sure = _run(chains, base, packet, 0)
            certain = certain and sure
            if (told or base.policy) in _DENIALS:
                return Verdict(False, certain, f"{base.family} {base.table} {base.name}")
    return Verdict(True, certain)


def _chains(ruleset: dict[str, Any], version: int) -> dict[tuple[str, str, str], _Chain]:
    """All chains that see packets of this version of IP, by family, table and name."""
    families = ("inet", "ip6" if version == 6 else "ip")
    found: dict[tuple[str, str, str], _Chain] = {}
    for item in ruleset.get("nftables", ()):
        if (chain := item.get("chain")) and chain["family"] in families and chain.get("type", "filter") != "nat":
            found[chain["family"], chain["table"], chain["name"]] = _Chain(
                chain["name"], chain["family"], chain["table"], chain.get("hook", ""),
                chain["prio"] if isinstance(chain.get("prio"), int) else 0, chain.get("policy", "accept"),
            )  # fmt: skip
    for item in ruleset.get("nftables", ()):
        if (rule := item.get("rule")) and (chain := found.get((rule["family"], rule["table"], rule["chain"]))):
            chain.rules.append(rule["expr"])
    return found


def _run(chains: dict[tuple[str, str, str], _Chain], chain: _Chain, packet: Packet, depth: int) -> tuple[str, bool]:
    """The verdict of a chain, "" for none, and whether it is certain."""
    certain = True
    for expressions in chain.rules:
        applies, verdict = _rule(expressions, packet)
        if applies is False or not verdict:
            continue
        if verdict.startswith(("jump ", "goto ")):
            target = chains.get((chain.family, chain.table, verdict[5:]))
            verdict, sure = _run(chains, target, packet, depth + 1) if target and depth < JUMPS_MAX else ("", False)
            certain = certain and (sure or applies is None)
            if not verdict:
                continue
        if applies is None:
            certain = False  # the rule may have ended the evaluation
        elif verdict == "return":
            return "", certain
        else:
            return verdict, certain
    return "", certain


def _rule(expressions: Iterable[dict[str, Any]], packet: Packet) -> tuple[bool | None, str]:
    """True if a rule applies (None: unknown), and its verdict."""
    applies: bool | None = True
    for each in expressions:
        (kind, body), *_ = each.items()
        if kind in ("accept", "drop", "reject", "return"):
            return applies, kind
        if kind in ("jump", "goto"):
            return applies, f"{kind} {body['target']}"
        if kind == "match":
            matches = _match(body, packet)
            if matches is False:
                return False, ""
            applies = applies if matches else None
        elif kind not in ("counter", "log", "comment", "notrack", "mangle"):
            applies = None
    return applies, ""


def _match(match: dict[str, Any], packet: Packet) -> bool | None:
    """True if one comparison holds; None: unknown."""
    value = _value(match["left"], packet)
    if value is None:
        return None
    holds = _holds(value, match["right"])
    return holds if holds is None or match["op"] in ("==", "in") else not holds if match["op"] == "!=" else None


def _value(left: Any, packet: Packet) -> Any:
    """The packet's value of the field; None: unknown."""
    if not isinstance(left, dict):
        return None
    if payload := left.get("payload"):
        own_ip = "ip6" if packet.source.version == 6 else "ip"
        return {
            ("udp", "dport"): packet.destination_port,
            ("th", "dport"): packet.destination_port,
            ("tcp", "dport"): -1,
            ("tcp", "sport"): -1,
            (own_ip, "saddr"): packet.source,
            (own_ip, "daddr"): packet.destination,
            ("ip", "protocol"): "udp",
            ("ip6", "nexthdr"): "udp",
        }.get((payload.get("protocol"), payload.get("field")))
    if meta := left.get("meta"):
        name = "iifname" if packet.is_incoming else "oifname"
        return {
            "l4proto": "udp",
            "pkttype": _packet_type(packet),
            "nfproto": "ipv6" if packet.source.version == 6 else "ipv4",
            name: packet.interface,
            name.replace("name", ""): packet.interface,
        }.get(meta["key"])
    if left.get("ct", {}).get("key") == "state":
        return "new"
    return None


def _packet_type(packet: Packet) -> str | None:
    """As the network card tells it of an incoming packet."""
    if not packet.is_incoming:
        return None
    return "multicast" if packet.destination.is_multicast else "host"


def _holds(value: Any, right: Any) -> bool | None:
    if isinstance(right, list):
        return _any(value, right)
    if isinstance(right, dict):
        if "set" in right:
            return _any(value, right["set"])
        if "range" in right:
            low, high = (_like(value, each) for each in right["range"])
            return None if low is None or high is None else bool(low <= value <= high)
        if "prefix" in right and isinstance(value, _Address):
            network = ipaddress.ip_network(f"{right['prefix']['addr']}/{right['prefix']['len']}", strict=False)
            return value in network
        return None
    if isinstance(right, str) and right.startswith("@"):
        return None  # a named set
    wanted = _like(value, right)
    if isinstance(wanted, str) and wanted.endswith("*"):
        return str(value).startswith(wanted[:-1])
    return None if wanted is None else bool(value == wanted)


def _any(value: Any, rights: Iterable[Any]) -> bool | None:
    answers = [_holds(value, each) for each in rights]
    return True if True in answers else None if None in answers else False


def _like(value: Any, right: Any) -> Any:
    """`right` in the type of `value`; None if that is impossible."""
    if isinstance(value, _Address):
        try:
            return ipaddress.ip_address(right)
        except ValueError:
            return None
    if isinstance(value, int):
        return right if isinstance(right, int) else None
    return {6: "tcp", 17: "udp"}.get(right, right) if isinstance(right, int) else right
