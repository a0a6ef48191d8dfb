"""Text for a terminal: names may hold anything, and some characters take two columns."""

from __future__ import annotations

import unicodedata

CUT = "~"
"""Stands where something was cut off."""


def printable(text: str) -> str:
    """Control characters are shown, not done: a group's name comes from anybody."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def cut(text: str, width: int) -> str:
    """At most so many columns of it."""
    text = printable(text)
    if text.isascii() and len(text) <= width:
        return text
    used = 0
    for index, character in enumerate(text):
        used += _columns(character)
        if used > width:
            kept = text[:index]
            while kept and sum(map(_columns, kept)) > width - 1:
                kept = kept[:-1]
            return kept + CUT
    return text


def column(text: str, width: int) -> str:
    """Exactly so many columns."""
    text = cut(text, width)
    return text + " " * (width - sum(map(_columns, text)))


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
