"""The declaration of an option: its meaning, unit, default, bounds and accepted values, once.

The tables in `schema_totem` and `schema_node` consist of these. The reference, `rondo config show` and every message
about a wrong value are generated from the declaration, so none of them can differ from what is enforced.
"""

import dataclasses
import ipaddress
import re
import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo

NUMBER_DIGITS_MAX = 20
"""2**64 has that many. A longer number is refused before it is converted, which would take long."""

CPU_MAX = 8191

ANY_TEXT = "text"


@dataclass(frozen=True, slots=True)
class Accepts:
    """In an option's annotation: the words for what it accepts."""

    text: str


class Section(BaseModel):
    """A section of corosync.conf. Its docstring is the section's text in the reference."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def option(
    default: Any,
    meaning: str,
    *,
    unit: str = "",
    ge: int | None = None,
    le: int | None = None,
    derived: str = "",
    refused: dict[str, str] | None = None,
    ignored: str = "",
    secret: bool = False,
    zero_is_default: bool = False,
    node: str = "",
) -> Any:
    """Declare an option.

    default: used if the option is absent; None if it follows from others, then `derived` tells how.
    meaning: what it does, in a sentence or two. unit: ms, bytes, packets ... ge, le: the bounds, both included.
    refused: values that Corosync knows and Rondo refuses, each with what to do instead.
    ignored: why the option has no effect here; it is accepted for the sake of existing files, with a warning.
    secret: its value is never shown.
    zero_is_default: 0 stands for the default, as it does in Corosync.
    node: its field in `rondo.config.node`, if that has another name: one with the unit in it.
    """
    extra = {
        "unit": unit,
        "derived": derived,
        "refused": refused or {},
        "ignored": ignored,
        "secret": secret,
        "zero_is_default": zero_is_default,
        "node": node,
    }
    return Field(default, description=meaning, ge=ge, le=le, json_schema_extra=typing.cast("Any", extra))


def extra(field: FieldInfo, name: str) -> Any:
    """A part of the declaration that is not pydantic's own: unit, derived, refused, ignored ..."""
    declared = field.json_schema_extra
    return declared.get(name) if isinstance(declared, dict) else None


def values_for(record: type[Any], *sections: Section) -> dict[str, Any]:
    """The options of these sections for which the dataclass `record` has a field, under the names of the fields."""
    fields = {field.name for field in dataclasses.fields(record)}
    return {
        target: getattr(section, name)
        for section in sections
        for name, declared in type(section).model_fields.items()
        if (target := extra(declared, "node") or name) in fields
    }


def bounds(field: FieldInfo) -> tuple[int | None, int | None]:
    """The smallest and the largest value."""
    low = next((m.ge for m in field.metadata if hasattr(m, "ge")), None)
    high = next((m.le for m in field.metadata if hasattr(m, "le")), None)
    return low, high


def choices(field: FieldInfo) -> tuple[str, ...]:
    """The words of an option that is one of several; () for others."""
    pending, found = [field.annotation], []
    while pending:
        kind = pending.pop(0)
        if typing.get_origin(kind) is Literal:
            found += [str(word) for word in typing.get_args(kind)]
        elif typing.get_origin(kind) in (typing.Union, types.UnionType):
            pending += typing.get_args(kind)
    return tuple(found)


def accepts(field: FieldInfo) -> str:
    """What may be written, in words: `a whole number from 1 to 255 (ms)`, `one of udp, udpu`."""
    if words := choices(field):
        return "one of " + ", ".join(words)
    text: str = next((m.text for m in field.metadata if isinstance(m, Accepts)), "text")
    low, high = bounds(field)
    if low is not None or high is not None:
        text += f" from {low} to {high}" if high is not None else f" from {low} on"
    unit = extra(field, "unit")
    return f"{text} ({unit})" if unit else text


def is_text(field: FieldInfo) -> bool:
    """True if any text is a valid value."""
    return any(isinstance(each, Accepts) and each.text == ANY_TEXT for each in field.metadata)


def subsection(field: FieldInfo) -> type[Section] | None:
    """The model of the sub-section that a field has (alone or as a tuple); None for an option."""
    kind: Any = field.annotation
    if typing.get_origin(kind) is tuple:
        kind = typing.get_args(kind)[0]
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def repeats(field: FieldInfo) -> bool:
    """True if the sub-section may be given several times."""
    return typing.get_origin(field.annotation) is tuple


def _number(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not re.fullmatch(r"[0-9]+", value):
        raise ValueError("is not a whole number")
    if len(value) > NUMBER_DIGITS_MAX:
        raise ValueError("is too large")
    return int(value)


def _yes_no(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.lower() in ("yes", "on"):
        return True
    if value.lower() in ("no", "off"):
        return False
    raise ValueError("is neither yes nor no")


def _word(value: object) -> object:
    if isinstance(value, str) and not value:
        raise ValueError("is empty")
    return value


def _host(value: object) -> object:
    """An address, or a host name by RFC 1123 (also with underscores, which are in use)."""
    if not isinstance(value, str):
        return value
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        label = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
        if len(value) > 253 or not re.fullmatch(rf"{label}(\.{label})*\.?", value) or re.fullmatch(r"[0-9.]+", value):
            raise ValueError("is neither an address nor a host name") from None
        return value


def _address(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError("is not an IP address") from None


def _multicast(value: object) -> object:
    address = _address(value)
    if isinstance(address, str) and not ipaddress.ip_address(address).is_multicast:
        raise ValueError("is not a multicast address")
    return address


def _cpus(value: object) -> object:
    """`0,2-3` as (0, 2, 3); `none` as ()."""
    if not isinstance(value, str):
        return value
    if value.lower() == "none":
        return ()
    cpus: set[int] = set()
    for part in value.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,4})\s*(?:-\s*([0-9]{1,4})\s*)?", part)
        if match is None:
            raise ValueError("is not a list of CPU numbers")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last > CPU_MAX or last < first:
            raise ValueError("is not a list of CPU numbers")
        cpus.update(range(first, last + 1))
    return tuple(sorted(cpus))


KINDS = ("node", "quorum", "application", "link")
"""The kinds of events of which notify{} can tell."""


def _kinds(value: object) -> object:
    """`node, quorum` as ("node", "quorum")."""
    if not isinstance(value, str):
        return value
    words = tuple(dict.fromkeys(re.split(r"[\s,]+", value.strip().lower())))
    if not set(words) <= set(KINDS):
        raise ValueError(f"is not a list of {', '.join(KINDS)}")
    return words


Number = Annotated[int, BeforeValidator(_number), Accepts("a whole number")]
MaybeNumber = Annotated[int | None, BeforeValidator(_number), Accepts("a whole number")]
YesNo = Annotated[bool, BeforeValidator(_yes_no), Accepts("yes or no")]
MaybeYesNo = Annotated[bool | None, BeforeValidator(_yes_no), Accepts("yes or no")]
Word = Annotated[str, BeforeValidator(_word), Accepts(ANY_TEXT)]
Host = Annotated[str, BeforeValidator(_host), Accepts("an IP address or a host name")]
MaybeHost = Annotated[str | None, BeforeValidator(_host), Accepts("an IP address or a host name")]
Address = Annotated[str, BeforeValidator(_address), Accepts("an IP address")]
Multicast = Annotated[str, BeforeValidator(_multicast), Accepts("an IP multicast address")]
Kinds = Annotated[tuple[str, ...], BeforeValidator(_kinds), Accepts(f"some of {', '.join(KINDS)}")]
Cpus = Annotated[tuple[int, ...], BeforeValidator(_cpus), Accepts("CPU numbers like 0,2-3, or none")]
