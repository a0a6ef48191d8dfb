"""Rules of the older iptables (iptables-legacy), which nft does not show, in the form in which nft prints its own.

No I/O: rules come as iptables-legacy-save prints them. What is not understood here becomes a match that cannot be
evaluated, so that the verdict after it is uncertain (`ruleset`).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from typing import Any

RULES_MAX = 20_000

_PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0}
"""Of the tables that may drop packets. nat and security do not."""
_BUILT_IN = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
_VERDICTS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "reject", "RETURN": "return"}
_HARMLESS = ("LOG", "NFLOG", "NOTRACK", "CT", "MARK", "CONNMARK", "TOS", "DSCP", "TTL", "CHECKSUM", "TRACE")
"""Targets after which the next rule is looked at."""
_IDLE = ("-m", "--comment")
"""What decides nothing: the options of a match say what it does."""
_UNKNOWN: dict[str, Any] = {"xt": None}

Json = dict[str, Any]


def as_nft(saved: str, family: str) -> list[Json]:
    """Chains and rules, as items of `nft --json list ruleset`. `family`: ip or ip6."""
    chains: list[Json] = []
    rules: list[Json] = []
    own: set[str] = set()
    """Chains that are not built in; a rule may jump to them."""
    table = ""
    for line in saved.splitlines()[:RULES_MAX]:
        if line.startswith("*"):
            table = line[1:].strip()
        elif table not in _PRIORITIES:
            continue
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            chains.append({"chain": _chain(table, family, name, policy)})
            own |= {name} - set(_BUILT_IN)
        elif line.startswith("-A "):
            words = shlex.split(line)
            expressions = list(_expressions(words[2:], family, own))
            rules.append({"rule": {**_place(table, family, words[1]), "expr": expressions}})
    return chains + rules


def _place(table: str, family: str, chain: str) -> Json:
    return {"family": family, "table": _name(table), "chain": chain}


def _name(table: str) -> str:
    return f"{table} of iptables-legacy"


def _chain(table: str, family: str, name: str, policy: str) -> Json:
    made: Json = {"family": family, "table": _name(table), "name": name}
    if name in _BUILT_IN:
        made |= {"type": "filter", "hook": name.lower(), "prio": _PRIORITIES[table], "policy": policy.lower()}
    return made


def _expressions(words: list[str], family: str, own: set[str]) -> Iterator[Json]:
    """The matches of a rule, and its verdict."""
    is_negated, index = False, 0
    while index < len(words):
        word = words[index]
        value = words[index + 1] if index + 1 < len(words) else ""
        index += 2
        if word == "!":
            is_negated, index = True, index - 1
        elif word in _IDLE:
            is_negated = False
        elif word in ("-j", "-g"):
            yield from _verdict(value, own)
            return
        elif word in _MATCHES:
            yield _MATCHES[word](value, family, "!=" if is_negated else "==")
            is_negated = False
        else:
            yield _UNKNOWN
            is_negated, index = False, index - (value == "!" or value.startswith("-"))  # it has no value


def _verdict(target: str, own: set[str]) -> Iterator[Json]:
    if target in own:
        yield {"jump": {"target": target}}
    elif target in _VERDICTS:
        yield {_VERDICTS[target]: None}
    elif target not in _HARMLESS:
        yield from (_UNKNOWN, {"accept": None})  # it may let the packet pass


def _match(left: Json, op: str, right: Any) -> Json:
    return {"match": {"left": left, "op": op, "right": right}}


def _address(field: str) -> Callable[[str, str, str], Json]:
    def make(value: str, family: str, op: str) -> Json:
        address, _, length = value.partition("/")
        if not length.isdigit():
            return _UNKNOWN if length else _match({"payload": {"protocol": family, "field": field}}, op, address)
        prefix = {"prefix": {"addr": address, "len": int(length)}}
        return _match({"payload": {"protocol": family, "field": field}}, op, prefix)

    return make


def _interface(key: str) -> Callable[[str, str, str], Json]:
    def make(value: str, _family: str, op: str) -> Json:
        return _match({"meta": {"key": key}}, op, value[:-1] + "*" if value.endswith("+") else value)

    return make


def _ports(value: str, _family: str, op: str) -> Json:
    """One, a range with a colon, or several with commas."""
    found: list[Any] = []
    for each in value.split(","):
        low, colon, high = each.partition(":")
        if not all(part.isdigit() for part in (low or "0", high or "0")):
            return _UNKNOWN
        found.append({"range": [int(low or 0), int(high or 65535)]} if colon else int(low))
    return _match({"payload": {"protocol": "th", "field": "dport"}}, op, {"set": found})


def _protocol(value: str, _family: str, op: str) -> Json:
    known = {"6": "tcp", "17": "udp"}
    return _match({"meta": {"key": "l4proto"}}, op, known.get(value, value))


def _state(value: str, _family: str, op: str) -> Json:
    return _match({"ct": {"key": "state"}}, op, value.lower().split(","))


def _packet_type(value: str, _family: str, op: str) -> Json:
    return _match({"meta": {"key": "pkttype"}}, op, "host" if value == "unicast" else value)


_MATCHES: dict[str, Callable[[str, str, str], Json]] = {
    "-s": _address("saddr"), "-d": _address("daddr"), "-i": _interface("iifname"), "-o": _interface("oifname"),
    "-p": _protocol, "--dport": _ports, "--dports": _ports, "--ctstate": _state, "--state": _state,
    "--pkt-type": _packet_type,
}  # fmt: skip
