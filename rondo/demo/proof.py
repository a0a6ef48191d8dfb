"""What must hold at the end: equal ledgers, nothing lost, nothing done twice, no money gained or lost.

It examines the content of the ledgers, not their own claims.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

Report = Mapping[str, Any]
"""A ledger at the end: "balances" by account, and "history", the identifiers of all transfers in order."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that must hold, and whether it does."""

    text: str
    holds: bool


def prove(reports: Mapping[int, Report], done: Mapping[str, Collection[str]], total: int) -> list[Claim]:
    """Judge the ledgers of all nodes.

    done: by application (a killed one and its successor are two), the transfers that were confirmed to it. total: the
    money at the beginning.
    """
    return [_equal(reports), _flowed(done), _kept(reports, done), _once(reports), _conserved(reports, total)]


def _equal(reports: Mapping[int, Report]) -> Claim:
    first, *rest = list(reports.values())
    same = all(each["balances"] == first["balances"] and each["history"] == first["history"] for each in rest)
    return Claim(
        f"the ledgers of nodes {_nodes(reports)} are equal: {len(first['history'])} transfers in one order", same
    )


def _flowed(done: Mapping[str, Collection[str]]) -> Claim:
    counts = ", ".join(f"{name}: {len(ids)}" for name, ids in done.items())
    return Claim(f"every application has made transfers ({counts})", all(done.values()))


def _kept(reports: Mapping[int, Report], done: Mapping[str, Collection[str]]) -> Claim:
    told = {each for ids in done.values() for each in ids}
    lost = sum(len(told - set(report["history"])) for report in reports.values())
    text = f"each of the {len(told)} transfers that were reported as done is in every ledger"
    return Claim(text if not lost else f"{text}: {lost} are missing", not lost)


def _once(reports: Mapping[int, Report]) -> Claim:
    counts = [Counter[str](report["history"]) for report in reports.values()]
    twice = {each for count in counts for each, times in count.items() if times > 1}
    return Claim("no transfer was done twice" + (f": {', '.join(sorted(twice)[:5])}" if twice else ""), not twice)


def _conserved(reports: Mapping[int, Report], total: int) -> Claim:
    sums = {node: sum(report["balances"].values()) for node, report in reports.items()}
    good = all(each == total for each in sums.values())
    overdrawn = any(balance < 0 for report in reports.values() for balance in report["balances"].values())
    text = f"no money came or went: {total} on each node, no account overdrawn"
    return Claim(text if good else f"{text}: {sums}", good and not overdrawn)


def _nodes(reports: Mapping[int, Report]) -> str:
    return " ".join(map(str, reports))
