"""A table of a document that is printed from the code: put into its place, and tested to be current."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

END = "<!-- end -->\n"


class Printed(NamedTuple):
    """Where it stands, and what makes it."""

    path: Path
    begin: str
    """The line before it; the line after it is `END`."""
    make: Callable[[], str]

    def document(self) -> str:
        """The document with the table as it is now. Raises ValueError if it has no place for one."""
        before, begin, rest = self.path.read_text().partition(self.begin)
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise ValueError(f"{self.path.name} has no place for the table: {self.begin.strip()}")
        return before + begin + self.make() + end + after

    def main(self, description: str | None) -> None:
        """Print or write it, as the command line says."""
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--write", action="store_true", help=f"put it into docs/{self.path.name}")
        if parser.parse_args().write:
            self.path.write_text(self.document())
        else:
            print(self.make(), end="")
