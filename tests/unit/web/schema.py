"""Whether a value is what a schema of services/web/openapi.json says: the part of JSON Schema that is used there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DOCUMENT: dict[str, Any] = json.loads(
    (Path(__file__).parents[3] / "services/web/openapi.json").read_text(encoding="utf-8")
)
KNOWN = {"type", "properties", "required", "additionalProperties", "items", "enum", "oneOf", "$ref", "description"}
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,), "number": (int, float),
    "boolean": (bool,), "null": (type(None),),
}  # fmt: skip


def schema_of(path: str, status: str = "200") -> dict[str, Any]:
    """What a path answers."""
    content: dict[str, Any] = DOCUMENT["paths"][path]["get"]["responses"][status]["content"]
    (found,) = content.values()
    schema: dict[str, Any] = found["schema"]
    return schema


def named(name: str) -> dict[str, Any]:
    """One of the schemas that others refer to."""
    return {"$ref": f"#/components/schemas/{name}"}


def faults(value: Any, schema: dict[str, Any], where: str = "$") -> list[str]:
    """The violations of a schema; [] if there are none."""
    assert schema.keys() <= KNOWN, f"{where}: {schema.keys() - KNOWN} is not looked at here"
    if "$ref" in schema:
        return faults(value, DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]], where)
    if "oneOf" in schema:
        tried = [faults(value, each, where) for each in schema["oneOf"]]
        return [] if [] in tried else tried[0]
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(isinstance(value, _TYPES[kind]) and (kind == "boolean" or value is not True) for kind in kinds):
        return [f"{where}: {value!r:.60} is not {schema['type']}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where}: {value!r:.60} is none of {schema['enum']}"]
    if isinstance(value, list):
        return [
            fault for index, each in enumerate(value) for fault in faults(each, schema["items"], f"{where}[{index}]")
        ]
    return _faults_of_object(value, schema, where) if isinstance(value, dict) else []


def _faults_of_object(value: dict[str, Any], schema: dict[str, Any], where: str) -> list[str]:
    properties, further = schema.get("properties", {}), schema.get("additionalProperties", True)
    found = [f"{where}: {name} is missing" for name in schema.get("required", ()) if name not in value]
    for name, each in value.items():
        if name in properties:
            found += faults(each, properties[name], f"{where}.{name}")
        elif further is False:
            found.append(f"{where}: {name} is not in the document")
        elif isinstance(further, dict):
            found += faults(each, further, f"{where}.{name}")
    return found
