"""Nobody gets out of a sandbox or a container through SAM."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.sam.bench import ROOT, Bench

NOT_CONFINED = pytest.mark.skipif(
    "NoNewPrivs:\t1" in Path("/proc/self/status").read_text(),
    reason="no_new_privs is set for these tests, so for SAM too: who has it set is no more confined than SAM",
)
ASK = """
import json, os, sys
import rondo, rondo.sam, rondo.errors
from rondo.sam.commands import Sam
try:
    with Sam(sys.argv[1]) as sam:
        print(json.dumps(eval(sys.argv[2])))
except rondo.Error as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


def ask(bench: Bench, wrapper: list[str], script: str) -> Any:
    """What `script`, an expression of `sam`, gives inside of that; an error as [name, text]."""
    command = [*wrapper, sys.executable, "-c", ASK, bench.endpoint, script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "wrapper",
    [
        pytest.param(["setpriv", "--no-new-privs"], marks=NOT_CONFINED),
        pytest.param(
            ["unshare", "--mount", "--pid", "--fork", "setpriv", "--bounding-set=-all", "--no-new-privs"],
            marks=pytest.mark.root,
        ),
        pytest.param(["unshare", "--net"], marks=pytest.mark.root),
    ],
    ids=["no_new_privs", "container", "network"],
)
def test_who_is_confined_gets_nothing_started_and_nothing_told(bench: Bench, wrapper: list[str]) -> None:
    name = bench.run("sh", "-c", "echo secret; exec sleep 1000", environment={"PASSWORD": "secret"})
    scripts = [
        "sam.run(['sleep', '1000'])",
        "rondo.sam.initialize(0, 'quit', endpoint=sys.argv[1]), rondo.sam.register()",
    ]
    scripts += [f"sam.{verb}({name!r})" for verb in ("stop", "logs", "environment")]
    for script in scripts:
        kind, text = ask(bench, wrapper, script)
        assert kind == "AccessDenied", (script, text)
        assert "is confined" in text
        assert "\n" not in text
    assert [each["id"] for each in bench.sam.status()] == [name]
    assert ask(bench, [], f"sam.status({name!r})[0]['id']") == name


def test_an_application_that_confines_itself_goes_on(bench: Bench) -> None:
    """What it asks for itself gets it nothing that it has not."""
    name = bench.run(sys.executable, "-c", CONFINES_ITSELF, environment={"PYTHONPATH": str(ROOT)})
    assert bench.wait_for_line("stored") == ["b'kept'"]
    assert bench.status(name)["state"] == "started"


CONFINES_ITSELF = """
import ctypes, os, sys, time
from rondo import sam
assert ctypes.CDLL(None).prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
sam.initialize(interval_ms=60_000, policy=sam.Policy.QUIT)
sam.register()
sam.start()
sam.data_store(b"kept")
with open(os.environ["DIR"] + "/stored", "w") as file:
    file.write(repr(sam.data_restore()) + "\\n")
time.sleep(1000)
"""
