"""Where the hot modules are compiled, the services run what is compiled; and from source where that is asked for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rondo.node import compiled

SERVICES = ("totem", "cpg", "ipc_gateway", "sam")
LOADED = "import sys, services.{0}.process; print({1!r} in open('/proc/self/maps').read())"


def loads_the_library(service: str, **environment: str) -> bool:
    code = LOADED.format(service, compiled.LIBRARY)
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout == "True\n"


@pytest.mark.parametrize("service", SERVICES)
def test_services_run_what_is_compiled(service: str) -> None:
    # Where there is a library it has to be taken: one that is not would go unseen if that, too, were skipped.
    if os.environ.get(compiled.SWITCH) == "no" or not compiled.DIRECTORY.is_dir():
        pytest.skip("the modules are not compiled: make compiled, without COMPILED=no")
    assert loads_the_library(service)


@pytest.mark.parametrize("service", SERVICES)
def test_services_run_from_source_when_told(service: str) -> None:
    assert not loads_the_library(service, RONDO_COMPILED="no")
