"""Applications of several users on a node of root: each runs as who asked for it, and is nobody else's business."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.sam.bench import ROOT, Bench, eventually

ALICE, BOB = 12345, 12346
GROUPS = [4242, 4343]

pytestmark = pytest.mark.root

# What is imported after the change of user may not be readable for that user; so everything is, before.
AS_USER = """
import json, os, sys, zmq.utils.monitor
import rondo, rondo.sam, rondo.errors
from rondo.protocol.sam_gateway import Op
from rondo.sam.commands import Sam
endpoint, uid, groups, script = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4]
rondo.Error, rondo.AccessDenied
os.chdir("/")
os.setgroups(groups)
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
try:
    with Sam(endpoint) as sam:
        print(json.dumps(eval(script)))
except rondo.Error as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


def as_user(bench: Bench, uid: int, script: str) -> Any:
    """What `script`, an expression of `sam`, gives for that user; an error as [name, text]."""
    command = [sys.executable, "-c", AS_USER, bench.endpoint, str(uid), json.dumps(GROUPS), script]
    environment = {"PATH": os.environ["PATH"], "SECRET": "of this user"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_application_runs_as_who_asked_for_it(bench: Bench) -> None:
    """With his user, group, groups, directory and umask; and so does its check."""
    who = (
        "id -u; id -g; id -G; pwd; umask; echo $SECRET; [ -w /dev/stdout ] && echo out; echo ok >/dev/stderr; sleep 99"
    )
    started = as_user(bench, ALICE, f"sam.run(['sh', '-c', {who!r}], directory={str(bench.work)!r})")
    expected = f"{ALICE}\n{ALICE}\n{ALICE} 4242 4343\n{bench.work}\n0022\nof this user\nout\nok\n"
    eventually(lambda: bench.sam.logs(started["id"])[0].decode() == expected, "all is said")
    status = bench.status(started["id"])
    assert (status["uid"], status["gid"]) == (ALICE, ALICE)

    check = bench.work / "check"
    check.write_text("#!/bin/sh\nid -u >> asked-by-$(id -u)\n")
    check.chmod(0o755)
    as_user(
        bench, ALICE,
        f"sam.run(['sleep', '1000'], directory={str(bench.work)!r}, interval_ms=2000, check={str(check)!r})",
    )  # fmt: skip
    bench.wait_for_line(f"asked-by-{ALICE}")


def test_a_restarted_one_too(bench: Bench) -> None:
    started = as_user(bench, ALICE, f"sam.run(['sh', '-c', 'id -u; sleep 1000'], directory={str(bench.work)!r})")
    os.kill(started["pid"], 9)
    bench.wait_for_instance(started["id"], 1)
    eventually(lambda: bench.sam.logs(started["id"])[0].decode() == f"{ALICE}\n{ALICE}\n", "both have said it")


def test_it_is_nobody_elses_business(bench: Bench) -> None:
    """Bob sees that it is there. He may not stop it, nor read its output or environment; Alice and root may."""
    name = as_user(bench, ALICE, "sam.run(['sh', '-c', 'echo private; sleep 1000'])")["id"]
    assert name in [each["id"] for each in as_user(bench, BOB, "sam.status()")]
    for script in (f"sam.stop({name!r})", f"sam.logs({name!r})", f"sam.environment({name!r})"):
        kind, text = as_user(bench, BOB, script)
        assert kind == "AccessDenied"
        assert f"belongs to user {ALICE}" in text
    assert "SECRET" not in json.dumps(as_user(bench, BOB, "sam.status()"))
    assert bench.status(name)["state"] == "started"

    assert "SECRET=of this user" in as_user(bench, ALICE, f"[each.decode() for each in sam.environment({name!r})]")
    eventually(lambda: bench.sam.logs(name)[0] != b"", "it has said something")
    assert as_user(bench, ALICE, f"sam.logs({name!r})[0].decode()") == "private\n"
    assert b"SECRET=of this user" in bench.sam.environment(name)
    assert as_user(bench, ALICE, f"sam.stop({name!r})")["message"].startswith(f"stopped by user {ALICE}")


def test_nobody_runs_anything_as_another(bench: Bench) -> None:
    """Who asks is what the kernel says, whatever the request says."""
    forged = (
        "sam._link.ask(Op.RUN, {'key': b'k' * 16, 'program': b'/bin/sh', 'arguments': [b'sh', b'-c', b'id -u;sleep 9'],"
        " 'directory': b'/', 'environment': [b'PATH=/usr/bin:/bin'], 'umask': 0, 'uid': 0, 'gid': 0, 'groups': [0],"
        " 'owner': [0, 0, []], 'policy': 'quit', 'interval_ms': 0, 'signal': 15, 'check': b''})"
    )
    name = as_user(bench, BOB, forged)["id"]
    eventually(lambda: bench.sam.logs(name)[0].decode() == f"{BOB}\n", "it says who it is")


def test_who_changes_his_user_after_connecting_is_refused(bench: Bench) -> None:
    script = "[sam.status() and None, os.setresuid(uid, uid, uid), sam.run(['true'])]"
    as_root = AS_USER.replace("os.setresgid(uid, uid, uid)\nos.setresuid(uid, uid, uid)\n", "")
    command = [sys.executable, "-c", as_root, bench.endpoint, str(ALICE), "[]", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    kind, text = json.loads(done.stdout)
    assert kind == "AccessDenied", done.stderr
    assert "cannot be seen" in text
    assert bench.sam.status() == []


def test_an_adopted_process_of_another_user(bench: Bench) -> None:
    """Only its own: nobody is registered by somebody else."""
    script = "[rondo.sam.initialize(0, rondo.sam.Policy.QUIT, endpoint=endpoint), rondo.sam.register()]"
    assert as_user(bench, ALICE, script) == [None, 0]
    (status,) = bench.sam.status()
    assert (status["uid"], status["adopted"] or status["state"] == "stopped") == (ALICE, True)
    bench.wait(status["id"], lambda s: s["state"] == "stopped", "its end is noticed")
    kind, text = as_user(bench, BOB, "sam._link.ask(Op.MARK_FAILED)")
    assert (kind, "not registered" in text) == ("BadHandle", True)
