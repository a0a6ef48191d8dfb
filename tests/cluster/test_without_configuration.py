"""`rondo start` where there is no corosync.conf: one node on loopback, with a key that it makes for itself."""

import json
import stat
import sys
from pathlib import Path

import pytest

from rondo.testing.lab.netns import Host, Lab
from rondo.testing.lab.rondo_node import REPOSITORY

pytestmark = pytest.mark.namespaces

RONDO = [sys.executable, "-m", "rondo.cli.main"]
COMMAND_TIMEOUT_S = 60.0
# Where Debian's corosync is installed there is a file; the host has a mount namespace of its own to hide it in.
HIDE = "if [ -d /etc/corosync ]; then mount -t tmpfs tmpfs /etc/corosync; fi"


def command(host: Host, *arguments: str, typed: str = "") -> str:
    """`rondo ARGUMENTS` in the host, with nothing but the defaults; what it has printed."""
    environment = {"PYTHONPATH": str(REPOSITORY), "RONDO_STATE_DIR": str(host.directory / "state")}
    for name in ("COROSYNC_MAIN_CONFIG_FILE", "COROSYNC_TOTEM_AUTHKEY_FILE", "RONDO_RUN_DIR", "RONDO_SOCKET"):
        environment[name] = ""
    done = host.run([*RONDO, *arguments], script=typed, environment=environment, timeout_s=COMMAND_TIMEOUT_S)
    return done.stdout


def test_a_node_starts_and_serves(lab: Lab) -> None:
    host = lab.host(1)
    host.run(["sh", "-c", HIDE])
    assert "node 1 is in a ring (members: 1) and serves clients at /run/rondo" in command(host, "start")
    try:
        key_file: Path = host.directory / "state" / "authkey"
        assert stat.S_IMODE(key_file.stat().st_mode) == 0o400
        assert json.loads(command(host, "debug", "totem", "--json"))["security"]["suite"] == "aes256-gcm"
        came, *messages, went = map(
            json.loads, command(host, "cpg", "join", "g", "--json", typed="a\n\nb").splitlines()
        )
        assert [member["node"] for member in came["members"]] == [1]
        assert [message["data"] for message in messages] == ["a", "", "b"]
        assert went["left"][0]["reason"] == "leave"
        command(host, "stop")
        assert "node 1 is in a ring" in command(host, "start"), "with the key that is there"
    finally:
        command(host, "stop")
