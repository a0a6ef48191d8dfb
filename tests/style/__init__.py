"""The rules of style that no other tool checks: `python -m tests.style` (part of `make lint`).

A file does one thing, so it has at most 450 lines (a file of tests 600); a function fits on a screen (60 lines); and
nobody reaches into what another module keeps for itself (names that begin with one underscore).
"""
