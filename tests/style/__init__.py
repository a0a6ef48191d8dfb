"""The rules of style that no other tool checks: `python -m tests.style` (part of `make lint`).

A file does one thing, so it has at most 450 lines (a file of tests 600); a function fits on a screen (60 lines); and
nobody reaches into what another module keeps for itself (names that begin with one underscore).

A constant of a module that is compiled (`rondo.node.compiled`) is `Final`. Machine code looks any other one up in a
dict each time, which takes 20 ns; a Final number stands in the code.
"""
