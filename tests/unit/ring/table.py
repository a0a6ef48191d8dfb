"""The table of the ring's machine as docs/RING.md has it, printed from the one that runs.

python -m tests.unit.ring.table             print it
python -m tests.unit.ring.table --write     put it into docs/RING.md
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from services.totem.ring.dispatch import TABLE, Call, Row, ignored
from services.totem.ring.timers import Timer
from tests.printed import Printed

if TYPE_CHECKING:
    from services.totem.ring.dispatch import Event
    from services.totem.ring.state import Handler

DOCUMENT = Path(__file__).parents[3] / "docs" / "RING.md"
BEGIN = "<!-- printed from services/totem/ring/dispatch.py: python -m tests.unit.ring.table --write -->\n"


def name(handler: Handler) -> str:
    """A handler's module and name."""
    return f"{handler.__module__.rpartition('.')[2]}.{handler.__name__}"


def _event(event: Event) -> str:
    if isinstance(event, Timer):
        return f"timer {event.value}"
    return f"call {event.value}" if isinstance(event, Call) else event.name.lower()


def table() -> str:
    """The table, and what each of its handlers does, in Markdown."""
    lines = [f"| event | {' | '.join(Row._fields)} |", "|---" * (len(Row._fields) + 1) + "|"]
    for event, row in TABLE.items():
        cells = ["-" if handler is ignored else f"`{name(handler)}`" for handler in row]
        lines.append(f"| {_event(event)} | {' | '.join(cells)} |")
    handlers = dict.fromkeys(handler for row in TABLE.values() for handler in row if handler is not ignored)
    lines += ["", "| handler | what it does |", "|---|---|"]
    for handler in handlers:
        what = " ".join((handler.__doc__ or "").partition("\n\n")[0].split())
        lines.append(f"| `{name(handler)}` | {what} |")
    return "\n".join(lines) + "\n"


PRINTED = Printed(DOCUMENT, BEGIN, table)

if __name__ == "__main__":
    PRINTED.main(__doc__)
