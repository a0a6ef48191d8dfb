"""The checker: judges traces of the ring by the properties that it promises. See README.md beside this file."""

from tests.checker.base import PROPERTIES, Event, Limits, Violation
from tests.checker.judge import check

__all__ = ["PROPERTIES", "Event", "Limits", "Violation", "check"]
