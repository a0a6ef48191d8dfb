"""The effective configuration, for people and for programs: every option with its value and its source, and the
resolved values that follow from them. It is generated from the declarations; secrets are left out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rondo.config import option
from rondo.config.key import fingerprint
from rondo.config.loaded import Loaded, OptionPath
from rondo.config.node import NodeConfig


@dataclass(frozen=True, slots=True)
class Row:
    """An option, its value, and the source of the value."""

    name: str
    """With the number of its section where there may be several: `nodelist.node[0].nodeid`."""
    value: Any
    unit: str
    source: str
    """`line N` of the file, `default`, or `derived: ` and the rule."""


def rows(loaded: Loaded) -> list[Row]:
    """Every option of every existing section."""
    return list(_rows(loaded, loaded.config, ()))


def _rows(loaded: Loaded, section: option.Section, path: OptionPath) -> Iterator[Row]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        where = (*path, name)
        if option.extra(field, "ignored"):
            continue
        if option.subsection(field) is None:
            yield Row(_label(where), *_value(loaded, value, field, where))
        elif option.repeats(field):
            for index, item in enumerate(value):
                yield from _rows(loaded, item, (*where, index))
        else:
            yield from _rows(loaded, value, where)


def _value(loaded: Loaded, value: Any, field: Any, where: OptionPath) -> tuple[Any, str, str]:
    unit: str = option.extra(field, "unit")
    if loaded.given(*where):
        shown = f"fingerprint {fingerprint(value.encode())}" if option.extra(field, "secret") else value
        return shown, unit, f"line {loaded.place(*where).line}"
    rule = option.extra(field, "derived")
    return value, unit, f"derived: {rule}" if rule else "default"


def _label(where: OptionPath) -> str:
    label = ""
    for part in where:
        label += f"[{part}]" if isinstance(part, int) else f".{part}"
    return label[1:]


def as_dict(loaded: Loaded, node: NodeConfig) -> dict[str, Any]:
    """For JSON: `node` has the effective configuration, `options` what it was made from."""
    options = {row.name: {"value": row.value, "unit": row.unit, "source": row.source} for row in rows(loaded)}
    warnings = [str(warning) for warning in loaded.warnings]
    return {"file": loaded.file, "node": _in_force(node), "options": options, "warnings": warnings}


def _in_force(node: NodeConfig) -> dict[str, Any]:
    values = node.to_dict()
    values["security"]["key_fingerprint"] = fingerprint(node.security.key) if node.security.key else ""
    return values


def as_text(loaded: Loaded, node: NodeConfig) -> str:
    """For people: the effective configuration, then the options."""
    table = [(name, _shown(value)) for name, value in _flat(_in_force(node), "")]
    width = max(len(name) for name, _ in table)
    lines = [f"# In force, from {loaded.file or 'no file: a single node on loopback'}"]
    lines += [f"{name.ljust(width)}  {value}" for name, value in table]
    options = [(row.name, _with_unit(row), row.source) for row in rows(loaded)]
    name_width = max(len(name) for name, _, _ in options)
    value_width = min(max(len(value) for _, value, _ in options), 40)
    lines += ["", "# Options"]
    lines += [f"{name.ljust(name_width)}  {value.ljust(value_width)}  {source}" for name, value, source in options]
    return "\n".join(lines)


def _with_unit(row: Row) -> str:
    return f"{_shown(row.value)} {row.unit}".strip() if row.value is not None else "-"


def _flat(values: dict[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name or 'general'}.")
        else:
            yield f"{prefix}{name}", value


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value in (None, "") else str(value)
