"""The tables of docs/PROTOCOL.md and docs/PROTOCOL-CLIENT.md, made from the shapes that `rondo.protocol` declares.

python -m tests.unit.protocol.tables             print the tables of envelopes
python -m tests.unit.protocol.tables --write     put everything into the documents

Tables of envelopes are printed whole. In those of log entries and events the arrays are put in, and the words that say
what each means stay as they are.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rondo.protocol import (
    client_gateway,
    control_gateway,
    cpg_gateway,
    events,
    sam_gateway,
    totem_control,
    totem_reader,
)
from rondo.protocol.envelope import Check, notation
from rondo.protocol.kinds import Kind

DOCS = Path(__file__).parents[3] / "docs"
BEGIN = "<!-- {}: python -m tests.unit.protocol.tables --write -->\n"
END = "<!-- end -->\n"


def fields_of(shape: str) -> list[str]:
    """`[a u32, b [c u64, d bin]]` as `a u32` and `b [c u64, d bin]`."""
    found, depth = [""], 0
    for letter in shape[1:-1]:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            found.append("")
        else:
            found[-1] += letter
    return [each.strip() for each in found if each]


def _cell(field: str) -> str:
    name, _, kind = field.partition(" ")
    return f"{name} `{kind}`" if kind.startswith("[") else field


def _row(*cells: str) -> str:
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"


def direction(envelope: type[Any]) -> str:
    """Who sends it to whom: what its docstring begins with."""
    who = (envelope.__doc__ or "").partition(":")[0].partition(", after")[0]
    return who.replace("the gateway", "gateway").replace(" or ", " ").replace(" to ", " → ")


def between_services(*modules: Any) -> str:
    """The envelopes of some pairs of services."""
    lines = ["| kind | number | from → to | fields after kind and epoch |", "|---|---|---|---|"]
    for module in modules:
        for kind, (envelope, check) in module.SHAPES.items():
            if kind is Kind.AGAIN and module is not totem_reader:
                continue  # is said in two pairs, and stands in the first
            fields = ", ".join(map(_cell, fields_of(notation(check))[1:]))
            lines.append(_row(kind.name, str(kind.value), direction(envelope), fields))
    return "\n".join(lines) + "\n"


def between_client_and_gateway() -> str:
    """The envelopes of PROTOCOL-CLIENT.md."""
    lines = ["| kind | number | from | fields after kind and epoch |", "|---|---|---|---|"]
    for kind in client_gateway.Kind:
        senders = {"client": client_gateway.FROM_CLIENT, "gateway": client_gateway.FROM_GATEWAY}
        having = [who for who, shapes in senders.items() if kind in shapes]
        fields = ", ".join(map(_cell, fields_of(notation(senders[having[0]][kind]))))
        lines.append(_row(kind.name, str(kind.value), having[0] if len(having) == 1 else "either", fields))
    return "\n".join(lines) + "\n"


def arrays(module: Any, shapes: Mapping[int, Check]) -> dict[str, str]:
    """By the name of each entry or event: its array, with the number of the kind."""
    names = {value: name for name, value in vars(module).items() if name.isupper() and type(value) is int}
    return {names[kind]: notation(check).replace("kind u32", str(kind), 1) for kind, check in shapes.items()}


def with_arrays(table: str, shapes: dict[str, str]) -> str:
    """The table with these arrays in its second column. Raises ValueError if it has not exactly these rows."""
    head, ruler, *rows = table.splitlines()
    cells = {name: rest for name, _, *rest in (re.split(r"(?<!\\) \| ", row.strip("| ")) for row in rows)}
    if cells.keys() != shapes.keys():
        raise ValueError(f"rows {sorted(cells)}, and declared are {sorted(shapes)}")
    lines = [_row(name, f"`{shapes[name]}`", *rest) for name, rest in cells.items()]
    return "\n".join([head, ruler, *lines]) + "\n"


def _of_envelopes() -> dict[str, str]:
    services = between_services(totem_reader, cpg_gateway, totem_control, control_gateway)
    return {
        "PROTOCOL.md rondo/protocol": services,
        "PROTOCOL.md rondo/protocol/sam_gateway.py": between_services(sam_gateway),
        "PROTOCOL-CLIENT.md rondo/protocol/client_gateway.py": between_client_and_gateway(),
    }


def _of_arrays() -> Iterator[tuple[str, dict[str, str]]]:
    yield "PROTOCOL.md rondo/protocol/totem_reader.py", arrays(totem_reader, totem_reader.ENTRIES)
    yield "PROTOCOL.md rondo/protocol/totem_control.py", arrays(totem_control, totem_control.ENTRIES)
    yield "PROTOCOL.md rondo/protocol/events.py", arrays(events, events.SHAPES)


def document(name: str) -> str:
    """A document with its tables as they are now. Raises ValueError if a table is not there."""
    text = (DOCS / name).read_text()
    places: list[tuple[str, str | dict[str, str]]] = [*_of_envelopes().items(), *_of_arrays()]
    for place, made in places:
        of, _, source = place.partition(" ")
        if of == name:
            before, begin, rest = text.partition(BEGIN.format(source))
            table, end, after = rest.partition(END)
            if not begin or not end:
                raise ValueError(f"{name} has no table of {source}")
            text = before + begin + (made if isinstance(made, str) else with_arrays(table, made)) + end + after
    return text


def main() -> None:
    """Print the tables, or write them into the documents."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the tables into the documents")
    if parser.parse_args().write:
        for name in ("PROTOCOL.md", "PROTOCOL-CLIENT.md"):
            (DOCS / name).write_text(document(name))
    else:
        print("\n".join(_of_envelopes().values()), end="")


if __name__ == "__main__":
    main()
