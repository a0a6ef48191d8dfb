"""Where machine code lies beside the source, it is what services run; where none does, they run the source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rondo.node import compiled
from rondo.node.installation import command
from tests.compiled_tree import STAMP

ROOT = Path(__file__).parents[2]
SERVICES = ("totem", "cpg", "ipc_gateway", "sam")
LOADED = "import sys, services.{0}.process; print({1!r} in open('/proc/self/maps').read())"


def loads(service: str) -> bool:
    """True if the process has loaded the compiled library of this tree."""
    library = str(ROOT / compiled.path_of(compiled.LIBRARY, compiled.SUFFIX))
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(service, library)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout == "True\n"


@pytest.mark.parametrize("service", SERVICES)
def test_services_run_machine_code_where_there_is_some(service: str) -> None:
    assert loads(service) == compiled.is_there(ROOT)


def test_tests_of_the_copy_see_the_copy() -> None:
    """`make cluster` works in build/compiled: what it starts is of there, and of the source that lies there."""
    assert compiled.ROOT == ROOT
    assert command("services.totem")[2] == str(ROOT / "rondo" / "node" / "isolated.py")
    if (ROOT / STAMP).exists():
        assert compiled.state() == compiled.COMPILED
    else:
        assert compiled.state() == "from source"
