"""The drawings of docs/concepts: python packaging/site/drawings.py writes them into docs/images.

Each is a diagram of processes (lines from left to right) and of what they see (dots on the lines), as books on
distributed systems draw them. Written down as data, they are all drawn alike, and a changed one is a small difference.
"""

import sys
from pathlib import Path
from xml.sax.saxutils import escape

IMAGES = Path(__file__).parents[2] / "docs" / "images"
WIDTH, LEFT, RIGHT, TOP, ROW = 720, 90, 24, 46, 64
INK, MUTED, PAPER = "#1f2933", "#7b8794", "#ffffff"
COLOURS = {"a": "#2563eb", "b": "#c2410c", "c": "#15803d", "grey": MUTED, "red": "#b91c1c"}


class Drawing:
    """Lines for processes; x is a share of the width, from 0 to 1; rows are counted from 0."""

    def __init__(self, title: str, rows: list[str]) -> None:
        self._title = title
        self._height = TOP + ROW * len(rows) + 12
        self._parts: list[str] = []
        self._text(LEFT - 74, 22, title, INK, weight="600")
        for row, name in enumerate(rows):
            self._text(LEFT - 74, self._y(row) + 5, name, INK)

    def life(self, row: int, start: float = 0, end: float = 1, *, broken: bool = False) -> "Drawing":
        """A process lives from `start` to `end`; broken: it is cut off or unsure."""
        dash = ' stroke-dasharray="3 5"' if broken else ""
        y, colour = self._y(row), MUTED if broken else INK
        return self._add(f'<path d="M{_x(start)} {y}H{_x(end)}" stroke="{colour}" stroke-width="1.5"{dash}/>')

    def dot(self, row: int, x: float, label: str, colour: str) -> "Drawing":
        """It sees something."""
        self._add(f'<circle cx="{_x(x)}" cy="{self._y(row)}" r="6" fill="{COLOURS[colour]}"/>')
        return self._text(_x(x), self._y(row) - 12, label, COLOURS[colour], anchor="middle")

    def view(self, row: int, x: float, label: str) -> "Drawing":
        """It sees a membership."""
        y = self._y(row)
        self._add(f'<path d="M{_x(x)} {y - 10}V{y + 10}" stroke="{INK}" stroke-width="4"/>')
        return self._text(_x(x), y + 25, label, INK, anchor="middle")

    def cross(self, row: int, x: float, label: str) -> "Drawing":
        """It dies, or is refused."""
        at, y = _x(x), self._y(row)
        self._add(
            f'<path d="M{at - 7} {y - 7}L{at + 7} {y + 7}M{at - 7} {y + 7}L{at + 7} {y - 7}" '
            f'stroke="{COLOURS["red"]}" stroke-width="3"/>'
        )
        return self._text(at, y + 25, label, COLOURS["red"], anchor="middle")

    def arrow(self, row: int, x: float, to_row: int, to_x: float, colour: str = "grey") -> "Drawing":
        """A message on its way."""
        ends = f'x1="{_x(x)}" y1="{self._y(row)}" x2="{_x(to_x)}" y2="{self._y(to_row)}"'
        return self._add(f'<line {ends} stroke="{COLOURS[colour]}" stroke-width="1.2" opacity="0.65"/>')

    def band(self, start: float, end: float, label: str, rows: tuple[int, int], colour: str = "grey") -> "Drawing":
        """A time in which something holds, for the rows from one to another."""
        y, height = self._y(rows[0]) - 30, ROW * (rows[1] - rows[0]) + 60
        self._add(
            f'<rect x="{_x(start)}" y="{y}" width="{_x(end) - _x(start)}" height="{height}" rx="6" '
            f'fill="{COLOURS[colour]}" opacity="0.10"/>'
        )
        return self._text((_x(start) + _x(end)) // 2, y + 14, label, COLOURS[colour], anchor="middle")

    def svg(self) -> str:
        """The file."""
        size = f'width="{WIDTH}" height="{self._height}" viewBox="0 0 {WIDTH} {self._height}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="sans-serif" font-size="13">\n'
            f"<title>{escape(self._title)}</title>\n"
            f'<rect width="{WIDTH}" height="{self._height}" rx="8" fill="{PAPER}"/>\n'
            + "\n".join(self._parts)
            + "\n</svg>\n"
        )

    def _y(self, row: int) -> int:
        return TOP + ROW * row + 26

    def _text(self, x: int, y: int, text: str, colour: str, *, anchor: str = "start", weight: str = "400") -> "Drawing":
        return self._add(
            f'<text x="{x}" y="{y}" fill="{colour}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'
        )

    def _add(self, part: str) -> "Drawing":
        self._parts.append(part)
        return self


def _x(share: float) -> int:
    return LEFT + round(share * (WIDTH - LEFT - RIGHT))


def order() -> Drawing:
    """Three send at once; all see one order."""
    drawing = Drawing("Three processes speak at once, and all see one order", ["process 1", "process 2", "process 3"])
    for row, name in enumerate("abc"):
        drawing.life(row)
        for to_row in range(3):
            drawing.arrow(row, 0.08 + 0.05 * row, to_row, (0.62, 0.40, 0.82)[row] + 0.03 * to_row, name)
    for row in range(3):
        for x, name, text in ((0.40, "b", "b"), (0.62, "a", "a"), (0.82, "c", "c")):
            drawing.dot(row, x + 0.03 * row, text, name)
    return drawing


def views() -> Drawing:
    """A process dies; the others see its end at the same place."""
    drawing = Drawing("The end of process 3 has one place among the messages", ["process 1", "process 2", "process 3"])
    for row, end in enumerate((1, 1, 0.45)):
        drawing.life(row, 0, end).view(row, 0.06, "{1, 2, 3}").dot(row, 0.22, "a", "a").dot(row, 0.36, "c", "c")
    drawing.cross(2, 0.45, "dies")
    for row in range(2):
        drawing.view(row, 0.62 + 0.03 * row, "{1, 2}").dot(row, 0.82 + 0.03 * row, "b", "b")
    return drawing


def safe() -> Drawing:
    """AGREED is delivered when it has its place; SAFE when all have it."""
    drawing = Drawing(
        "AGREED: has its place in the order. SAFE: and every member has it", ["node 1", "node 2", "node 3"]
    )
    for row in range(3):
        drawing.life(row).arrow(0, 0.06, row, 0.16 + 0.09 * row, "a").dot(row, 0.20 + 0.09 * row, "agreed", "a")
    drawing.band(0.44, 0.70, "the token says: all have it", (0, 2))
    for row in range(3):
        drawing.dot(row, 0.78 + 0.05 * row, "safe", "c")
    return drawing


def splits() -> Drawing:
    """Two sides go on, each with a ring of its own, and meet again."""
    drawing = Drawing("A split: each side has a ring of its own; then they meet", ["node 1", "node 2", "node 3"])
    for row in range(3):
        drawing.life(row).view(row, 0.06, "{1, 2, 3}").dot(row, 0.18, "a", "a").view(row, 0.92, "{1, 2, 3}")
    drawing.band(0.30, 0.80, "majority: goes on", (0, 1), "c").band(0.30, 0.80, "minority: waits", (2, 2), "red")
    for row in range(2):
        drawing.view(row, 0.38, "{1, 2}").dot(row, 0.73, "b", "b")
    return drawing.view(2, 0.38, "{3}").cross(2, 0.73, "NoQuorum")


def quorum() -> Drawing:
    """Five votes: any two majorities share a node."""
    drawing = Drawing("Of five votes three are a majority, and two majorities share a node", [""] * 3)
    for number, x in enumerate((0.06, 0.26, 0.46, 0.66, 0.86), 1):
        drawing.dot(1, x, f"node {number}", "a" if number < 3 else "c" if number == 3 else "b")
    return drawing.band(0, 0.54, "a majority", (0, 1), "a").band(0.38, 0.94, "another one", (1, 2), "b")


def links() -> Drawing:
    """Two networks: one fails, nobody notices."""
    drawing = Drawing("Two links: one of them fails, and no membership changes", ["link 0", "link 1", "group"])
    drawing.life(0, 0, 0.42).cross(0, 0.42, "cable pulled").life(0, 0.42, 0.78, broken=True).life(0, 0.78, 1)
    drawing.life(1).life(2).view(2, 0.06, "{1, 2, 3}")
    for x, text in ((0.22, "a"), (0.38, "b"), (0.56, "c"), (0.72, "d"), (0.90, "e")):
        drawing.dot(2, x, text, "a").arrow(0 if x < 0.40 or x > 0.80 else 1, x - 0.05, 2, x, "a")
    return drawing


DRAWINGS = (order, views, safe, splits, quorum, links)


def main() -> None:
    """Write all."""
    for draw in DRAWINGS:
        path = IMAGES / f"concept-{draw.__name__}.svg"
        path.write_text(draw().svg(), encoding="utf-8")
        sys.stdout.write(f"{path.name}\n")


if __name__ == "__main__":
    main()
