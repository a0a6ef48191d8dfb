"""Who writes what in the ring: a reading of its source that finds every write to a field, and the class of that field.

A field is written where something is assigned to it, or where the list, set or dict that it holds is changed in place.
The class is found from annotations: of parameters, of fields, and from what a local name was made of. A write whose
class cannot be told is an error as well, so that nothing is missed.
"""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CHANGES = frozenset(
    {
        "add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert", "pop", "popitem",
        "popleft", "remove", "setdefault", "update",
    }
)  # fmt: skip
_CONTAINERS = frozenset({"deque", "dict", "list", "set"})


@dataclass
class _Class:
    module: str
    fields: dict[str, str] = field(default_factory=dict)
    """For each field the name of its class; a container is told by `_CONTAINERS`; empty: something else."""


@dataclass(frozen=True)
class _Value:
    """What an expression is: its class, and, for a container, the class of which it is a field."""

    type: str
    holder: str = ""


def foreign_writes(sources: Mapping[str, str], anybody: frozenset[str]) -> list[str]:
    """Each write to a field of another module's class, as text. `sources`: text by module; `anybody`: classes that
    everybody may write."""
    trees = {module: _parse(text) for module, text in sources.items()}
    classes: dict[str, _Class] = {}
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                classes[node.name] = _Class(module, dict(_fields(node)))
    return [
        f"{module}.py:{line}: {text}"
        for module, tree in trees.items()
        for line, text in _Reader(module, classes, anybody).read(tree)
    ]


_parse = functools.lru_cache(ast.parse)


def _type_name(node: ast.expr | None) -> str:
    """The class that an annotation or a call names; of `X | None` it is X."""
    if isinstance(node, ast.Name):
        return "" if node.id == "Final" else node.id
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Subscript):
        return _type_name(node.slice if _type_name(node.value) == "" else node.value)
    if isinstance(node, ast.BinOp):
        return _type_name(node.left)
    if isinstance(node, ast.Call):
        return _type_name(node.func)
    if isinstance(node, ast.Set | ast.SetComp):
        return "set"
    if isinstance(node, ast.Dict | ast.DictComp):
        return "dict"
    return "list" if isinstance(node, ast.List | ast.ListComp) else ""


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for item in ast.walk(node):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            yield item.target.id, _type_name(item.annotation)
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Attribute):
            yield item.target.attr, _type_name(item.annotation) or _type_name(item.value)
    parameters = {
        argument.arg: _type_name(argument.annotation)
        for item in node.body
        if isinstance(item, ast.FunctionDef) and item.name == "__init__"
        for argument in item.args.args
    }
    for item in ast.walk(node):
        if isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Attribute):
            name = item.value.id if isinstance(item.value, ast.Name) else ""
            found = parameters.get(name, "") if name else _type_name(item.value)
            if found:
                yield item.targets[0].attr, found


class _Reader:
    """Reads one module."""

    def __init__(self, module: str, classes: Mapping[str, _Class], anybody: frozenset[str]) -> None:
        self._module = module
        self._classes = classes
        self._anybody = anybody
        self._found: list[tuple[int, str]] = []

    def read(self, tree: ast.Module) -> list[tuple[int, str]]:
        """The foreign writes of this module, with their lines."""
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                self._function(node, {})
            elif isinstance(node, ast.ClassDef):
                for item in node.body:
                    if isinstance(item, ast.FunctionDef):
                        self._function(item, {"self": _Value(node.name)})
        return self._found

    def _function(self, function: ast.FunctionDef, names: dict[str, _Value]) -> None:
        arguments = function.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            if argument.annotation is not None:
                names[argument.arg] = _Value(_type_name(argument.annotation))
        statements = [node for node in ast.walk(function) if isinstance(node, ast.stmt | ast.Call)]
        for node in sorted(statements, key=lambda each: (each.lineno, each.col_offset)):
            if isinstance(node, ast.Assign):
                self._assign(node, names)
            elif isinstance(node, ast.AnnAssign | ast.AugAssign):
                self._target(node.target, names)
            elif isinstance(node, ast.Delete):
                for target in node.targets:
                    self._target(target, names)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGES:
                self._change(node.func.value, names)

    def _assign(self, node: ast.Assign, names: dict[str, _Value]) -> None:
        for target in node.targets:
            whole = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            pairs = zip(target.elts, node.value.elts, strict=True) if whole else [(target, node.value)]  # type: ignore[attr-defined]
            values = [(each, self._value(value, names)) for each, value in pairs]
            for each, value in values:
                if isinstance(each, ast.Name):
                    names[each.id] = value
                else:
                    self._target(each, names)

    def _target(self, target: ast.expr, names: dict[str, _Value]) -> None:
        if isinstance(target, ast.Attribute):
            self._write(self._value(target.value, names).type, target)
        elif isinstance(target, ast.Subscript):
            self._change(target.value, names)
        elif isinstance(target, ast.Tuple):
            for each in target.elts:
                self._target(each, names)

    def _change(self, container: ast.expr, names: dict[str, _Value]) -> None:
        """Something is done to a container: if it is that of a field, it is a write."""
        value = self._value(container, names)
        if value.holder and value.type in _CONTAINERS:
            self._write(value.holder, container)

    def _write(self, written: str, node: ast.expr) -> None:
        if written in self._anybody:
            return
        owner = self._classes.get(written)
        if owner is None or owner.module != self._module:
            whose = f"of {written}, which {owner.module}.py owns" if owner else "of what cannot be told"
            self._found.append((node.lineno, f"{ast.unparse(node)} {whose}"))

    def _value(self, node: ast.expr, names: Mapping[str, _Value]) -> _Value:
        if isinstance(node, ast.Name):
            return names.get(node.id, _Value(""))
        if isinstance(node, ast.Attribute):
            holder = self._value(node.value, names).type
            known = self._classes.get(holder)
            return _Value(known.fields.get(node.attr, "") if known else "", holder)
        return _Value(_type_name(node))
