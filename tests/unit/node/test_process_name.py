"""Processes have names of their own."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("name", "shown"), [("totem", "rondo-totem"), ("gateway", "rondo-gateway"), ("a_very_long_name", "rondo-a_very_lo")]
)
def test_the_name_in_ps(name: str, shown: str) -> None:
    program = (
        "from rondo.node.process_name import set_process_name\n"
        f"set_process_name({name!r})\n"
        "print(open('/proc/self/stat').read().split('(')[1].split(')')[0])\n"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == shown
