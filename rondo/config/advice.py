"""Guesses what the author of a wrong line meant: an option of nearly that name, the right section, a trailing
comment."""

import difflib
import re
from collections.abc import Iterator

from rondo.config import option
from rondo.config.schema_node import Config

NEAREST_CHARACTERS_MAX = 64
"""A longer name is not compared with the known ones: the comparison takes quadratic time."""
PART_CHARACTERS_MIN = 2
"""The least length of a name that is part of another one: `id` in `nodeid`, `addr` in `ring0_addr`."""

SYNONYMS = {"ip": "ring0_addr", "address": "ring0_addr", "host": "name", "hostname": "name", "port": "mcastport"}

OWN_SECTIONS = ("remote", "cpg", "web", "notify")
"""Rondo's own sections: the author of a file for Corosync did not mean an option of these."""

COMMENT = re.compile(r"(^|\s)(#|//|;)")
COMMENT_HINT = "a comment must have a line of its own"


def nearest(name: str, model: type[option.Section], *, section: bool) -> str:
    """`; did you mean 'nodeid'?`, or the section where the name belongs, or nothing. `section`: the name is that of a
    section."""
    places = [where for where, other in _sections(Config, "") if _has(other, name, section=section)]
    places = [where for where in places if where not in OWN_SECTIONS]
    if places:
        return "; it belongs into " + " or ".join(f"{where} {{}}" if where else "no section" for where in places)
    known = [each for each, field in model.model_fields.items() if bool(option.subsection(field)) is section]
    found = _like(name, known)
    return f"; did you mean '{found}'?" if found else ""


def _like(name: str, known: list[str]) -> str:
    wanted = name.lower()[:NEAREST_CHARACTERS_MAX]
    if close := difflib.get_close_matches(wanted, known, n=1, cutoff=0.7):
        return close[0]
    if SYNONYMS.get(wanted) in known:
        return SYNONYMS[wanted]
    bare = re.sub(r"[-_]", "", wanted)
    parts = [each for each in known if len(bare) >= PART_CHARACTERS_MIN and bare in each.replace("_", "")]
    # `id` stands for one option, and of ring0_addr to ring7_addr the first is named. A part of many names is chance.
    return parts[0] if parts and len({re.sub(r"[0-9]", "", each) for each in parts}) == 1 else ""


def _sections(model: type[option.Section], path: str) -> Iterator[tuple[str, type[option.Section]]]:
    yield path, model
    for name, field in model.model_fields.items():
        if kind := option.subsection(field):
            yield from _sections(kind, f"{path}.{name}" if path else name)


def _has(model: type[option.Section], name: str, *, section: bool) -> bool:
    field = model.model_fields.get(name)
    return field is not None and bool(option.subsection(field)) is section


def hint_of_value(text: str) -> str:
    """The likely intention behind a value that cannot be used; empty if it shows none."""
    if COMMENT.search(text):
        return COMMENT_HINT
    if text.endswith(";"):
        return "a line has no semicolon at its end"
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return "a value has no quotes"
    return ""


def odd_text(text: str) -> tuple[str, str] | None:
    """Why a text value may be a mistake, and the remedy; None if it looks usual."""
    if found := re.search(r"\s(#|//)", text):
        return f"everything behind the colon is the value, {text[found.start() :].strip()!r} too", COMMENT_HINT
    if text.endswith(";"):
        return "the semicolon is a part of the value", "remove it"
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return "the quotes are a part of the value", "remove them"
    return None
