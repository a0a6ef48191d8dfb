"""What this machine says of itself, held against what is certain about every Linux."""

import ipaddress
import os
import pwd
import shutil
import subprocess
import sys

import pytest

from rondo.config.interfaces import interface_addresses
from rondo.config.machine import ThisMachine


def test_loopback_is_an_interface_with_its_network() -> None:
    found = [entry for entry in interface_addresses() if str(entry.address) == "127.0.0.1"]
    assert [(entry.name, str(entry.network)) for entry in found] == [("lo", "127.0.0.0/8")]


def test_own_addresses() -> None:
    machine = ThisMachine()
    assert all(machine.has_address(str(entry.address)) for entry in interface_addresses())
    assert machine.has_address("127.9.9.9")
    assert not machine.has_address("192.0.2.254")
    assert not machine.has_address("2001:db8::1")


def test_names_and_users(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = ThisMachine()
    monkeypatch.setenv("HOSTNAME", "from.environment")
    assert machine.hostname() == "from.environment"
    monkeypatch.delenv("HOSTNAME")
    assert machine.hostname() == os.uname().nodename
    user = pwd.getpwuid(0).pw_name
    assert (machine.user_id(user), machine.user_id("12"), machine.user_id("no such user")) == (0, 12, None)
    assert (machine.group_id("12"), machine.group_id("no such group"), machine.group_id("9" * 30)) == (12, None, None)
    assert (machine.user_id("4294967294"), machine.user_id("4294967295")) == (4294967294, None)
    assert machine.lookup("127.0.0.7") == ["127.0.0.7"]
    assert machine.lookup("x" * 300) == []


PROGRAM = """
from rondo.config.interfaces import interface_addresses
for entry in interface_addresses():
    print(entry.name, entry.address, entry.network)
"""

ADDRESSES = ("10.1.2.3/20", "10.1.4.3/32", "fd00::5/64")
SETUP = " && ".join(["ip link set lo up", *(f"ip addr add {address} dev lo" for address in ADDRESSES)])


def test_all_addresses_of_an_interface_with_their_prefixes() -> None:
    """In a network namespace of our own, whose addresses are known."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("needs unshare(1) and ip(8)")
    probe = subprocess.run(["unshare", "-Urn", "sh", "-c", SETUP], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("no unprivileged network namespaces here")
    command = f"{SETUP} && exec {sys.executable} -c '{PROGRAM}'"
    done = subprocess.run(["unshare", "-Urn", "sh", "-c", command], capture_output=True, text=True, check=True)
    found = {tuple(line.split()[1:]) for line in done.stdout.splitlines()}
    assert found == {
        ("127.0.0.1", "127.0.0.0/8"),
        ("10.1.2.3", "10.1.0.0/20"),
        ("10.1.4.3", "10.1.4.3/32"),
        ("::1", "::1/128"),
        ("fd00::5", "fd00::/64"),
    }


def test_link_local_addresses_say_on_which_interface() -> None:
    addresses = [entry for entry in interface_addresses() if entry.address.is_link_local]
    assert all(isinstance(e.address, ipaddress.IPv4Address) or e.address.scope_id == e.name for e in addresses)
