"""Which lines of a decoder a set of inputs reaches. Lines of function bodies; what runs at import is not counted."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from types import CodeType, FrameType, ModuleType
from typing import Any

from tests.fuzz.targets import Target

SENDING = ("encode", "pack", "seal", "__init__")
"""Functions with these words in their names make what others decode, or what decodes it."""


def _is_left_out(code: CodeType, target: Target) -> bool:
    return code.co_name in target.leave_out or any(word in code.co_name for word in SENDING)


def _codes(module: ModuleType, target: Target) -> Iterator[CodeType]:
    """The code of every function of a module that counts, nested ones too: they count as the one around them."""
    assert module.__file__ is not None
    with open(module.__file__, encoding="utf-8") as file:
        waiting: list[Any] = [compile(file.read(), module.__file__, "exec")]
    while waiting:
        code = waiting.pop()
        if _is_left_out(code, target):
            continue
        yield code
        waiting += [each for each in code.co_consts if isinstance(each, CodeType)]


def lines_of(target: Target) -> set[tuple[str, int]]:
    """All lines that count."""
    found = set()
    for module in target.modules:
        for code in _codes(module, target):
            is_function = code.co_flags & 0x2  # CO_NEWLOCALS: neither a module nor a class
            if not is_function:
                continue
            first = code.co_firstlineno
            found |= {(code.co_filename, line) for _, _, line in code.co_lines() if line is not None and line != first}
    return found


def reached(target: Target, inputs: Iterable[bytes]) -> set[tuple[str, int]]:
    """Those of them that the inputs reach."""
    wanted = lines_of(target)
    files = {file for file, _ in wanted}
    seen: set[tuple[str, int]] = set()

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            seen.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for each in inputs:
            target.run(each)
    finally:
        sys.settrace(before)
    return seen & wanted
