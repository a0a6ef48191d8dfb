"""Everything at one moment, as lines: in a terminal no more and no longer ones than it has room for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rondo.cli.text import column, cut, printable
from rondo.cli.top.rates import Rates, short
from rondo.cli.top.sections import NAME_WIDTH, Section, sections
from rondo.timeline.events import Event

ROWS_PRINTED_MAX = 50
"""Of each list, where the output is no terminal."""
LINE_PRINTED_MAX = 400
WARNINGS_MAX = 3


def frame(
    told: dict[str, Any], rates: Rates, order: str, events: Iterable[Event], size: tuple[int, int] | None
) -> list[str]:
    """The lines of what `Looker.status` tells. `size`: columns and lines of the terminal; None: there is none."""
    head, lists = _head(told, rates, order), sections(told, rates, order, events)
    if size is None:
        lines = head
        for each in lists:
            lines += ["", *_section(each, ROWS_PRINTED_MAX)]
        return [cut(line, LINE_PRINTED_MAX) for line in lines]
    width, height = size
    lines = [*head, *_fitted(lists, height - len(head))]
    return [cut(line, width) for line in lines[:height]]


def _head(told: dict[str, Any], rates: Rates, order: str) -> list[str]:
    status = told["status"]
    node = "?" if status["node"] is None else status["node"]
    why = f" ({status['why']})" if status["why"] else ""
    well = "" if told["healthy"] else " NOT WELL"
    lines = [
        f"{told['time'][:19]} {told['cluster']} node {node}: {status['state']}{well}{why}",
        _ring(told),
        _quorum(status),
        _rates(rates, order),
    ]
    warnings = [*_absent(told["nodes"]), *_refused(status)]
    if len(warnings) > WARNINGS_MAX:
        warnings[WARNINGS_MAX - 1 :] = [f"and {len(warnings) - WARNINGS_MAX + 1} more warnings, see rondo status"]
    return [printable(line) for line in lines + warnings]


def _ring(told: dict[str, Any]) -> str:
    ring, members = told["status"]["ring"], told["status"]["members"]
    if not ring:
        return "ring: none"
    name = f"{ring['representative']}.{ring['sequence']:x}"
    times = "".join(
        f", {what} {told[value] / 1000:.2f} ms"
        for what, value in (("rotation", "rotation_us"), ("worst", "rotation_worst_us"))
        if told[value] is not None
    )
    return f"ring {name}, {len(members)} of {len(told['nodes'])} members{times}: {' '.join(map(str, members))}"


def _quorum(status: dict[str, Any]) -> str:
    votes = status["quorum"]
    if not votes:
        return "quorum: nobody counts votes"
    said = "yes" if votes["quorate"] else "NO"
    counts = f"{votes['total_votes']} of {votes['expected_votes']} votes, {votes['quorum']} needed"
    return f"quorum: {said}, {counts}; {' '.join(votes['flags'])}".removesuffix("; ")


def _rates(rates: Rates, order: str) -> str:
    of = {name: short(value) for name, value in rates.totem.items()}
    return (
        f"a second: messages {of.get('messages_rx', '-')} in {of.get('messages_tx', '-')} out, "
        f"packets {of.get('mcast_rx', '-')} in {of.get('mcast_tx', '-')} out, "
        f"again {of.get('mcast_retx', '-')}; by {order}"
    )


def _absent(nodes: list[dict[str, Any]]) -> list[str]:
    away = [each for each in nodes if not each["member"]]
    return [
        f"absent: node {each['node']} {each['name']}".rstrip() + (f" since {each['since']}" if each["since"] else "")
        for each in away
    ]


def _refused(status: dict[str, Any]) -> list[str]:
    return [f"refused: packets from {each['address']}: {each['why']}" for each in status["strangers"]]


def _fitted(lists: list[Section], lines: int) -> list[str]:
    """Each list that there is room for has a row, and the others go around."""
    kept = lists[: max(0, lines) // 2]
    rows = [1] * len(kept)
    left = lines - 2 * len(kept)
    while left > 0 and any(count < len(each.rows) for each, count in zip(kept, rows, strict=True)):
        for index, each in enumerate(kept):
            if left > 0 and rows[index] < len(each.rows):
                rows[index], left = rows[index] + 1, left - 1
    return [line for each, count in zip(kept, rows, strict=True) for line in _section(each, count)]


def _section(section: Section, rows: int) -> list[str]:
    """With so many of its rows; how many that is of all stands in its head."""
    label = section.label if rows >= len(section.rows) else f"{section.label} {rows} of {len(section.rows)}"
    return [f"{column(label, NAME_WIDTH)} {section.columns}".rstrip(), *section.rows[:rows]]
