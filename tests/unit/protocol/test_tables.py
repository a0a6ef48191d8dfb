"""What the documents say of envelopes, entries, events and operations is what the code declares."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rondo.protocol import (
    client_gateway,
    control_gateway,
    cpg_gateway,
    requests,
    sam_gateway,
    totem_control,
    totem_reader,
)
from rondo.protocol.envelope import BusError, array_of, is_bytes, is_u32, is_u64, notation, optional, record
from rondo.protocol.kinds import Kind
from tests.unit.protocol import tables

PAIRS = (totem_reader, cpg_gateway, totem_control, control_gateway, sam_gateway)


@pytest.mark.parametrize("name", ["PROTOCOL.md", "PROTOCOL-CLIENT.md"])
def test_the_tables_are_current(name: str) -> None:
    assert tables.document(name) == (tables.DOCS / name).read_text(), "python -m tests.unit.protocol.tables --write"


def test_shapes_have_the_names_of_the_fields() -> None:
    for module in PAIRS:
        for envelope, check in module.SHAPES.values():
            names = tuple(field.partition(" ")[0] for field in tables.fields_of(notation(check)))
            assert names == envelope._fields, envelope


def test_every_kind_has_a_shape() -> None:
    declared = {kind for module in PAIRS for kind in module.SHAPES}
    assert declared == set(Kind)
    assert client_gateway.FROM_CLIENT.keys() | client_gateway.FROM_GATEWAY.keys() == set(client_gateway.Kind)


def test_how_shapes_are_written() -> None:
    shape = record(a=is_u32, b=optional(record(c=is_bytes, d=array_of(is_u64))))
    assert notation(shape) == "[a u32, b [c bin, d [u64...]]/nil]"
    assert tables.fields_of(notation(shape)) == ["a u32", "b [c bin, d [u64...]]/nil"]


def test_a_table_with_a_row_too_many_or_too_few_is_none() -> None:
    table = "| entry | array | |\n|---|---|---|\n| A | `[0]` | says | it |\n| B | `[1]` | |\n"
    assert "| A | `[0, x u32]` | says | it |\n" in tables.with_arrays(table, {"A": "[0, x u32]", "B": "[1]"})
    for names in ("A", "ABC"):
        with pytest.raises(ValueError, match="declared"):
            tables.with_arrays(table, dict.fromkeys(names, "[0]"))


class Operations(NamedTuple):
    """A table of operations in a document."""

    document: str
    head: str
    operations: type[IntEnum]


@pytest.mark.parametrize(
    "where",
    [
        Operations("PROTOCOL.md", "| op | request | ordered? | result |", requests.Op),
        Operations("PROTOCOL-CLIENT.md", "| operation | | arguments | result | who may |", sam_gateway.Op),
        Operations("PROTOCOL-CLIENT.md", "| operation | | arguments | result |\n", control_gateway.Op),
    ],
    ids=["requests", "sam", "control"],
)
def test_operations_have_the_numbers_that_the_documents_say(where: Operations) -> None:
    text = (tables.DOCS / where.document).read_text()
    rows = text[text.index(where.head) + len(where.head) :].partition("\n\n")[0].strip().splitlines()[1:]
    told: dict[str, int] = {}
    for row in rows:
        names, second = row.strip("| ").split(" | ")[:2]
        # A request is `[r, NUMBER, ...]`; elsewhere the number has a column of its own.
        told |= dict(zip(names.split(", "), map(int, re.findall(r"\d+", second)), strict=False))
    assert told == {each.name: each.value for each in where.operations}


numbers = st.one_of(st.integers(-1, 3), st.sampled_from([2**32 - 1, 2**32, 2**64 - 1, 2**64]), st.booleans())
anything = st.recursive(
    st.one_of(numbers, st.none(), st.binary(max_size=2), st.text(max_size=1)),
    lambda inner: st.lists(inner, max_size=6),
    max_leaves=8,
)
messages = st.one_of(
    st.tuples(st.just(0), numbers, st.one_of(st.none(), st.lists(numbers, min_size=2, max_size=4)), anything, anything),
    st.tuples(st.just(0), st.just(1), st.none(), st.booleans(), st.binary(max_size=2)),
).map(list)
submitted = st.one_of(
    st.tuples(numbers, numbers, numbers, st.one_of(st.none(), st.binary(max_size=1)), st.lists(st.binary(max_size=1))),
    st.tuples(numbers, numbers, numbers, anything, anything),
).map(list)


@given(st.one_of(messages, anything))
def test_messages_are_what_their_declared_shape_says(value: Any) -> None:
    is_message = type(value) is list and bool(value) and type(value[0]) is int and value[0] == totem_reader.MESSAGE
    if is_message:
        assert totem_reader.is_entry(value) == totem_reader.ENTRIES[totem_reader.MESSAGE](value)


@given(st.one_of(submitted, anything))
def test_submitted_requests_are_what_their_declared_shape_says(value: Any) -> None:
    envelope = totem_reader.Submit(1, [value])
    try:
        totem_reader.decode(totem_reader.encode(envelope))
        is_taken = True
    except (BusError, OverflowError):
        is_taken = False
    assert is_taken == totem_reader.REQUEST(value)
