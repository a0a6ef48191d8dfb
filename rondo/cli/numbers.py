"""Numbers on the command line: out of bounds, "nan" and "inf" are wrong usage, told with the option and the bounds."""

import argparse
from collections.abc import Callable

LINES_MAX = 1_000_000_000


def whole(what: str, least: int, most: int) -> Callable[[str], int]:
    """For `type=`: a whole number in these bounds. `what` is it: "a number of lines"."""

    def convert(text: str) -> int:
        number = int(text) if text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20 else None
        if number is None or not least <= number <= most:
            raise argparse.ArgumentTypeError(f"'{text}' is not {what} from {least} to {most}")
        return number

    return convert


def seconds(least: float, most: float) -> Callable[[str], float]:
    """For `type=`: a number of seconds in these bounds."""

    def convert(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not least <= number <= most:  # nor nan, which is not in any bounds
            raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds from {least:g} to {most:g}")
        return number

    return convert
